# Sourced by the suites: the environment each dialect is chosen by, and the one format results are written in.
#
# A suite must meet the identity endpoint the way a deployed program does, so a dialect is selected by the documented
# variables and by nothing else. That only holds when nothing is left over from the caller: `begin` removes whatever a
# client would look at.
#
# A suite sets CLIENT and VERSION, calls `begin`, then for each dialect either `report DIALECT CASE COMMAND...` (one
# process a case, which says why it failed) or `run_dialect DIALECT COMMAND...` (one process that writes result lines
# itself), and at last `finish`.
#
# Dialects: `arc`, `app-service`; `imds` by the override that some clients honour, `imds-address` where a client looks
# for it unasked, which is there only in the run's own network namespace; `no-agent`, an application with a secret.

failed=0

begin() {
  local name
  for name in DENIZEN_DEV_JSON DENIZEN_VAULT_URL DENIZEN_CA DENIZEN_CA_BUNDLE DENIZEN_RESULTS; do
    [[ -n ${!name:-} ]] || stop "$name is not set; start this suite through conformance/run"
  done
  for name in DENIZEN_DEV_JSON DENIZEN_CA DENIZEN_CA_BUNDLE; do
    [[ -r ${!name} ]] || stop "$name names ${!name}, which cannot be read"
  done
  command -v jq >/dev/null || stop "jq is needed to read dev.json"
  # Only now, after installing: a registry may be behind a proxy, Denizen never is.
  for name in $(compgen -e); do
    case "${name^^}" in
      AZURE_* | IDENTITY_* | MSI_* | IMDS_* | DEFAULT_IDENTITY_CLIENT_ID) unset "$name" ;;
      HTTP_PROXY | HTTPS_PROXY | ALL_PROXY | NO_PROXY) unset "$name" ;;
      CURL_CA_BUNDLE | SSL_CERT_DIR) unset "$name" ;;
    esac
  done
  export SSL_CERT_FILE=$DENIZEN_CA_BUNDLE REQUESTS_CA_BUNDLE=$DENIZEN_CA_BUNDLE NODE_EXTRA_CA_CERTS=$DENIZEN_CA
  AZURE_AUTHORITY_HOST=$(field .authority) || exit 64
  export AZURE_AUTHORITY_HOST
}

stop() {
  echo "conformance: $CLIENT: $1" >&2
  exit 64
}

# field FILTER: a value of dev.json; fails on null and on what is absent.
field() {
  jq -er "$1" "$DENIZEN_DEV_JSON" || {
    echo "dev.json has no $1: denizen dev said at its start why" >&2
    return 1
  }
}

# variable NAME FILTER: NAME=VALUE, or failure when dev.json has no such value.
variable() {
  local value
  value=$(field "$2") && printf '%s=%s\n' "$1" "$value"
}

# dialects: those in which a client of every source is run, one a line.
dialects() {
  printf '%s\n' arc app-service imds
  [[ ${DENIZEN_NETNS:-} != 1 ]] || echo imds-address
}

# dialect_variables DIALECT: what selects it, one NAME=VALUE a line, and nothing more.
dialect_variables() {
  case $1 in
    arc)
      variable IDENTITY_ENDPOINT .agent.arc.identity_endpoint && variable IMDS_ENDPOINT .agent.arc.imds_endpoint
      ;;
    app-service)
      variable IDENTITY_ENDPOINT .agent.app_service.identity_endpoint \
        && variable IDENTITY_HEADER .agent.app_service.identity_header
      ;;
    imds) variable AZURE_POD_IDENTITY_AUTHORITY_HOST .agent.imds_host ;;
    imds-address)
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

# dialect_environment DIALECT: exports what selects it; run it in a subshell.
dialect_environment() {
  local listed line
  listed=$(dialect_variables "$1") || return 1
  while IFS= read -r line; do
    [[ -z $line ]] || export "${line?}"
  done <<<"$listed"
}

# record DIALECT CASE ok|fail|n/a [DETAIL]: one line for the table, one for the reader.
record() {
  local dialect=$1 case=$2 word=$3 detail
  if [[ $dialect = imds-address ]]; then
    dialect=imds case="$case at 169.254.169.254"
  fi
  detail=$(printf '%s' "${4:-}" | tr '\t\r\n' '   ' | cut -c1-400)
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$CLIENT" "$VERSION" "$dialect" "$case" "$word" "$detail" >>"$DENIZEN_RESULTS"
  printf '%-5s %s %s | %s | %s%s\n' "$word" "$CLIENT" "$VERSION" "$dialect" "$case" "${detail:+ | $detail}"
  [[ $word != fail ]] || failed=1
}

# report DIALECT CASE COMMAND...: runs one case in its dialect's environment. It is ok with 0; with 1 it failed, and has
# said why on its output; with 3 the client was seen to refuse this by itself, and the output says how. With anything
# else, or nothing said, its process was lost, which is a failure too and never a gap in the table.
report() {
  local dialect=$1 case=$2 code=0 said errors
  shift 2
  errors=$(mktemp)
  said=$(
    dialect_environment "$dialect" 2>&1 || exit 1
    "$@" 2>"$errors"
  ) || code=$?
  [[ $code != 3 || -n $said ]] || code=1
  case $code in
    0) record "$dialect" "$case" ok ;;
    1) record "$dialect" "$case" fail "${said:-$(tail -n 3 "$errors")}" ;;
    3) record "$dialect" "$case" n/a "$said" ;;
    124 | 137) record "$dialect" "$case" fail "no answer within the time limit; killed" ;;
    *) record "$dialect" "$case" fail "the process ended with code $code: ${said:-$(tail -n 3 "$errors")}" ;;
  esac
  rm -f "$errors"
}

# run_dialect DIALECT COMMAND...: the command gets the dialect's environment; what it cannot say is said here.
run_dialect() {
  local dialect=$1 code=0 before said
  shift
  if ! said=$(dialect_variables "$dialect" 2>&1 >/dev/null); then
    record "$dialect" ManagedIdentityCredential fail "no environment for this dialect: $said"
    return
  fi
  before=$(failure_lines)
  (
    dialect_environment "$dialect"
    exec timeout --kill-after=5 600 "$@"
  ) || code=$?
  if ((code != 0)); then
    failed=1
    # A crash or a hang leaves no line; the table must show it all the same.
    (($(failure_lines) > before)) || record "$dialect" ManagedIdentityCredential fail "the suite ended with code $code"
  fi
}

failure_lines() {
  if [[ -f $DENIZEN_RESULTS ]]; then grep -c $'\tfail\t' "$DENIZEN_RESULTS" || true; else echo 0; fi
}

# The cases of the clients that run each in a process of its own (Python, JavaScript), by dialect.
sdk_cases() {
  printf '%s\n' managed-identity default default-client-id client-id object-id unknown-identity concurrent \
    vault-refusals deleted-secrets
  [[ $1 != app-service ]] || echo wrong-header
}

# What the table calls them.
sdk_title() {
  case $1 in
    managed-identity) echo "ManagedIdentityCredential" ;;
    default) echo "DefaultAzureCredential" ;;
    default-client-id) echo "DefaultAzureCredential with AZURE_CLIENT_ID" ;;
    client-id) echo "identity chosen by client_id" ;;
    object-id) echo "identity chosen by object_id" ;;
    unknown-identity) echo "unknown identity refused" ;;
    wrong-header) echo "wrong IDENTITY_HEADER refused" ;;
    concurrent) echo "eight first tokens at once" ;;
    vault-refusals) echo "vault refusals" ;;
    deleted-secrets) echo "deleted secrets: recover and purge" ;;
  esac
}

finish() {
  exit "$failed"
}
