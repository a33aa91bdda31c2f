# Sourced by the suites: the environment each dialect is chosen by, and the
# one format results are written in.
#
# A suite must meet the identity endpoint the way a deployed program does, so
# a dialect is selected by the documented variables and by nothing else. That
# only holds if nothing is left over from the caller: `clean_environment`
# removes every variable a client would look at before one is set.

# conformance_inputs: fails unless the runner gave everything a suite needs.
conformance_inputs() {
  local name missing=0
  for name in DENIZEN_DEV_JSON DENIZEN_VAULT_URL DENIZEN_CA DENIZEN_CA_BUNDLE DENIZEN_RESULTS; do
    if [ -z "${!name:-}" ]; then
      echo "conformance: $name is not set; start this suite through conformance/run" >&2
      missing=1
    fi
  done
  [ "$missing" -eq 0 ] || return 1
  for name in DENIZEN_DEV_JSON DENIZEN_CA DENIZEN_CA_BUNDLE; do
    if [ ! -r "${!name}" ]; then
      echo "conformance: $name names ${!name}, which cannot be read" >&2
      missing=1
    fi
  done
  if ! command -v jq >/dev/null; then
    echo "conformance: jq is needed to read dev.json" >&2
    missing=1
  fi
  return "$missing"
}

# dev FILTER: one value of dev.json; fails on null and on what is absent.
dev() {
  jq -er "$1" "$DENIZEN_DEV_JSON"
}

# clean_environment: forgets whatever would steer a client, then sets what
# every dialect has in common (trust and authority). Call it after installing:
# a registry may be behind a proxy, Denizen never is.
clean_environment() {
  local name authority
  authority=$(dev .authority) || {
    echo "conformance: dev.json has no authority" >&2
    return 1
  }
  for name in $(compgen -e); do
    case "$name" in
      AZURE_* | IDENTITY_* | MSI_* | IMDS_ENDPOINT | DEFAULT_IDENTITY_CLIENT_ID) unset "$name" ;;
      http_proxy | https_proxy | all_proxy | no_proxy) unset "$name" ;;
      HTTP_PROXY | HTTPS_PROXY | ALL_PROXY | NO_PROXY) unset "$name" ;;
      CURL_CA_BUNDLE | SSL_CERT_DIR) unset "$name" ;;
    esac
  done
  export SSL_CERT_FILE=$DENIZEN_CA_BUNDLE
  export REQUESTS_CA_BUNDLE=$DENIZEN_CA_BUNDLE
  export NODE_EXTRA_CA_CERTS=$DENIZEN_CA
  export AZURE_AUTHORITY_HOST=$authority
}

# dialect_environment SETTING: exports what selects that dialect, and nothing
# more; run it in a subshell. Settings are the dialects `arc`, `app-service`
# and `imds`, and `imds-address`: IMDS where a client looks for it unasked.
dialect_environment() {
  case "$1" in
    arc)
      if ! dev .agent.arc >/dev/null; then
        echo "agent.arc is null in dev.json: denizen dev said at its start why it offers no Arc" >&2
        return 1
      fi
      IDENTITY_ENDPOINT=$(dev .agent.arc.identity_endpoint) || return 1
      IMDS_ENDPOINT=$(dev .agent.arc.imds_endpoint) || return 1
      export IDENTITY_ENDPOINT IMDS_ENDPOINT
      ;;
    app-service)
      IDENTITY_ENDPOINT=$(dev .agent.app_service.identity_endpoint) || return 1
      IDENTITY_HEADER=$(dev .agent.app_service.identity_header) || return 1
      export IDENTITY_ENDPOINT IDENTITY_HEADER
      ;;
    imds)
      AZURE_POD_IDENTITY_AUTHORITY_HOST=$(dev .agent.imds_host) || return 1
      export AZURE_POD_IDENTITY_AUTHORITY_HOST
      ;;
    imds-address) ;;
    *)
      echo "conformance: no such dialect: $1" >&2
      return 1
      ;;
  esac
}

# settings: every setting this suite can be run in, one a line. The well-known
# address exists only inside the private network namespace of the run.
settings() {
  printf '%s\n' arc app-service imds
  if [ "${DENIZEN_NETNS:-}" = 1 ]; then
    echo imds-address
  fi
}

# record CLIENT VERSION SETTING CASE ok|fail|n/a [DETAIL]: one line for the
# table, one for the reader. The address setting is the IMDS dialect with its
# own case names.
record() {
  local client=$1 version=$2 dialect=$3 case=$4 status=$5 detail=${6:-}
  if [ "$dialect" = imds-address ]; then
    dialect=imds
    case="$case at 169.254.169.254"
  fi
  detail=$(printf '%s' "$detail" | tr '\t\r\n' '   ' | cut -c1-400)
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' \
    "$client" "$version" "$dialect" "$case" "$status" "$detail" >>"$DENIZEN_RESULTS"
  printf '%-5s %s %s | %s | %s%s\n' \
    "$status" "$client" "$version" "$dialect" "$case" "${detail:+ | $detail}"
}

# lost_cases CODE CASES...: says so in the results when a suite's process ended
# without reporting. Sets nothing; reads client, version and setting from its
# caller. A case nobody reported is a failure, never a gap in the table.
lost_cases() {
  local code=$1 why case
  shift
  case "$code" in
    124 | 137) why="no answer within the time limit; killed" ;;
    *) why="the suite's process ended with code $code before reporting this case" ;;
  esac
  for case in "$@"; do
    # shellcheck disable=SC2154  # the caller's
    record "$client" "$version" "$setting" "$case" fail "$why"
  done
}
