# Sourced by the suites of the compiled clients (go, java, rust): the environment of each dialect, made from
# dev.json alone, and the result lines for what stops a suite before it can write its own.
#
# A suite sets CLIENT and VERSION, calls `begin`, then `run_dialect DIALECT COMMAND...` for each, then `finish`.

failed=0

# One result line: CASE WORD DETAIL.
record() {
  local dialect=$1 case=$2 word=$3 detail=$4
  printf '%-4s  %s %s  %-11s  %s: %s\n' "$word" "$CLIENT" "$VERSION" "$dialect" "$case" "$detail"
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$CLIENT" "$VERSION" "$dialect" "$case" "$word" "$detail" >> "$DENIZEN_RESULTS"
  [[ $word != fail ]] || failed=1
}

begin() {
  local name
  for name in DENIZEN_DEV_JSON DENIZEN_VAULT_URL DENIZEN_CA DENIZEN_CA_BUNDLE DENIZEN_RESULTS; do
    if [[ -z ${!name:-} ]]; then
      echo "$CLIENT: $name is not set; conformance/run sets it" >&2
      exit 64
    fi
  done
  command -v jq > /dev/null || { echo "$CLIENT: jq is needed to read dev.json" >&2; exit 64; }
  # Whatever this machine has set for real Azure or for a proxy must not choose the source or carry the request.
  for name in ${!AZURE_@} ${!IDENTITY_@} ${!IMDS_@} ${!MSI_@} ${!HTTP_PROXY@} ${!HTTPS_PROXY@} ${!ALL_PROXY@} \
    ${!NO_PROXY@} ${!http_proxy@} ${!https_proxy@} ${!all_proxy@} ${!no_proxy@}; do
    unset "$name"
  done
  export SSL_CERT_FILE=$DENIZEN_CA_BUNDLE REQUESTS_CA_BUNDLE=$DENIZEN_CA_BUNDLE NODE_EXTRA_CA_CERTS=$DENIZEN_CA
  unset SSL_CERT_DIR
  AZURE_AUTHORITY_HOST=$(field .authority) || exit 64
  export AZURE_AUTHORITY_HOST
}

# A value of dev.json that must be there.
field() {
  jq -er "$1" "$DENIZEN_DEV_JSON" || { echo "$CLIENT: dev.json has no $1" >&2; return 1; }
}

# NAME=VALUE from dev.json, or failure when the value is missing.
variable() {
  local value
  value=$(field "$2") && printf '%s=%s\n' "$1" "$value"
}

# The documented variables of DIALECT, one a line. `imds-host` is IMDS by the override that some SDKs honour,
# `imds` the fixed address, with nothing set.
dialect_variables() {
  case $1 in
    arc)
      variable IDENTITY_ENDPOINT .agent.arc.identity_endpoint && variable IMDS_ENDPOINT .agent.arc.imds_endpoint
      ;;
    app-service)
      variable IDENTITY_ENDPOINT .agent.app_service.identity_endpoint \
        && variable IDENTITY_HEADER .agent.app_service.identity_header
      ;;
    imds-host)
      variable AZURE_POD_IDENTITY_AUTHORITY_HOST .agent.imds_host
      ;;
    imds)
      if [[ ${DENIZEN_NETNS:-} != 1 ]]; then
        echo "169.254.169.254 is ours only in the test's own network namespace (DENIZEN_NETNS=1)" >&2
        return 1
      fi
      ;;
    no-agent)
      # The development tenant's administrator, as an application is deployed with a secret.
      variable AZURE_TENANT_ID .tenant_id && variable AZURE_CLIENT_ID .admin.client_id \
        && variable AZURE_CLIENT_SECRET .admin.client_secret
      ;;
    *)
      echo "no such dialect: $1" >&2
      return 1
      ;;
  esac
}

# run_dialect DIALECT COMMAND...: the command gets the dialect's environment; what it cannot say is said here.
run_dialect() {
  local dialect=$1 listed code=0 before
  shift
  if ! listed=$(dialect_variables "$dialect" 2>&1); then
    record "${dialect%-host}" "ManagedIdentityCredential" fail "no environment for this dialect: $listed"
    return
  fi
  local -a variables=()
  [[ -z $listed ]] || mapfile -t variables <<< "$listed"
  before=$(failure_lines)
  env "${variables[@]}" timeout --kill-after=5 600 "$@" || code=$?
  if ((code != 0)); then
    failed=1
    # A crash or a hang leaves no line; the table must show it all the same.
    (($(failure_lines) > before)) || record "${dialect%-host}" "ManagedIdentityCredential" fail "the suite ended with code $code"
  fi
}

failure_lines() {
  if [[ -f $DENIZEN_RESULTS ]]; then grep -c $'\tfail\t' "$DENIZEN_RESULTS" || true; else echo 0; fi
}

finish() {
  exit "$failed"
}
