# Sourced by run: one function a case. A case runs in a subshell of its own
# with its dialect's environment set, ends with 0 when it holds, and otherwise
# prints what was wrong.

fail() {
  echo "$*"
  exit 1
}

# as_nobody COMMAND: as a user who is in no group of the agent's.
as_nobody() {
  setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

# ask CURL-ARGUMENTS: one request; leaves $status, $work/body and $work/headers.
ask() {
  status=$(curl -sS --max-time 10 -o "$work/body" -D "$work/headers" -w '%{http_code}' "$@" 2>"$work/why") ||
    fail "no answer: $(cat "$work/why")"
}

body() {
  jq -er "$1" "$work/body"
}

# refused STATUS WHAT CURL-ARGUMENTS: STATUS is a regular expression. The
# refusal is JSON, comes at once, and holds no token.
refused() {
  local wanted=$1 what=$2
  shift 2
  ask "$@"
  # First, and without showing the body: results are kept and published.
  ! grep -q access_token "$work/body" || fail "$what: answered $status with a token"
  [[ $status =~ ^($wanted)$ ]] || fail "$what: answered $status, expected $wanted: $(head -c 200 "$work/body")"
  jq -e 'type == "object"' "$work/body" >/dev/null 2>&1 || fail "$what: the $status has no JSON body"
}

# check_answer FILE: a token answer, whole, for this machine and for the vault.
check_answer() {
  local token now claims
  jq -e . "$1" >/dev/null 2>&1 || fail "not JSON: $(head -c 200 "$1")"
  jq -e '[.access_token, .expires_in, .expires_on, .resource, .token_type] | all(type == "string")' "$1" >/dev/null ||
    fail "a member is absent or not a string: $(jq -c 'with_entries(.value |= type)' "$1")"
  jq -e '.token_type == "Bearer" and .resource == "https://vault.azure.net"' "$1" >/dev/null ||
    fail "token_type or resource: $(jq -c '{token_type, resource}' "$1")"
  token=$(jq -r .access_token "$1")
  claims=$(printf '%s' "$token" | jq -Rec '
    split(".") | if length != 3 or .[2] == "" then error("not a JWT") else .[1] end
    | gsub("-"; "+") | gsub("_"; "/")
    | . + "===="[: (4 - length % 4) % 4]
    | @base64d | fromjson') || fail "the token is not a JWT"
  now=$(date +%s)
  jq -e --argjson claims "$claims" --argjson now "$now" --arg expires_on "$(jq -r .expires_on "$1")" '
    . as $dev | $claims
    | .oid == $dev.machine.principal_id and .appid == $dev.machine.client_id
      and .tid == $dev.tenant_id and .aud == "https://vault.azure.net"
      and .exp > $now + 300 and (.exp | tostring) == $expires_on
    ' "$DENIZEN_DEV_JSON" >/dev/null ||
    fail "claims are $(jq -c '{oid, appid, tid, aud, exp}' <<<"$claims"), expires_on $(jq -c .expires_on "$1"), now $now"
}

# vault CURL-ARGUMENTS: one request to the vault, TLS checked against our CA.
vault() {
  ask --cacert "$DENIZEN_CA" "$@"
}

vault_expect() {
  local wanted=$1 what=$2
  shift 2
  vault "$@"
  [ "$status" = "$wanted" ] || fail "$what: answered $status, expected $wanted: $(jq -c '.error // "a body that is no error"' "$work/body" 2>&1 | head -c 300)"
}

# main_job RECIPE: a token by that recipe, then a secret from first to last.
main_job() {
  local url=${DENIZEN_VAULT_URL%/} query="api-version=2025-07-01" name secret bearer version
  "$1" >"$work/token" 2>"$work/why" || fail "$(cat "$work/why" "$work/token")"
  check_answer "$work/token"
  bearer="Authorization: Bearer $(jq -r .access_token "$work/token")"
  secret=$url/secrets/$(field .secret.name)

  vault_expect 200 "get" -H "$bearer" "$secret?$query"
  [ "$(body .value)" = "$(field .secret.value)" ] || fail "the vault's value is not dev.json's"

  name=sh-$setting-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
  secret=$url/secrets/$name
  vault_expect 200 "set" -X PUT -H "$bearer" -H "Content-Type: application/json" "$secret?$query" \
    -d '{"value":"first","contentType":"text/plain","tags":{"made-by":"conformance"}}'
  version=$(body '.id | split("/") | last')
  [[ $version =~ ^[0-9a-f]{32}$ ]] || fail "the version is '$version', expected 32 hexadecimal digits"
  [ "$(body .id)" = "$secret/$version" ] || fail "the id is $(body .id), expected $secret/$version"

  vault_expect 200 "get back" -H "$bearer" "$secret/$version?$query"
  [ "$(body .value)" = first ] || fail "the value read back is $(body .value)"
  vault_expect 200 "get by a final slash" -H "$bearer" "$secret/?$query"
  [ "$(body '.tags["made-by"]')" = conformance ] || fail "the tags read back are $(body .tags)"

  vault_expect 200 "update" -X PATCH -H "$bearer" -H "Content-Type: application/json" "$secret/$version?$query" \
    -d '{"tags":{"state":"updated"}}'
  jq -e 'has("value") | not' "$work/body" >/dev/null || fail "an update's answer holds the value"
  [ "$(body .tags.state)" = updated ] || fail "the tags after update are $(body .tags)"

  vault_expect 200 "versions" -H "$bearer" "$secret/versions?$query"
  [ "$(body '[.value[].id] | join(" ")')" = "$secret/$version" ] || fail "the versions are $(body '[.value[].id]')"

  # The list may be paged: follow its links, which come with everything needed.
  local next="$url/secrets?$query&maxresults=1" listed=0
  while [ -n "$next" ]; do
    vault_expect 200 "list" -H "$bearer" "$next"
    if jq -e --arg id "$secret" '.value | any(.id == $id)' "$work/body" >/dev/null; then listed=1; fi
    next=$(jq -r '.nextLink // ""' "$work/body")
  done
  [ "$listed" = 1 ] || fail "the list does not hold the secret"

  vault_expect 200 "delete" -X DELETE -H "$bearer" "$secret?$query"
  vault_expect 404 "get after delete" -H "$bearer" "$secret?$query"
  [ "$(body .error.code)" = SecretNotFound ] || fail "the 404's code is $(body .error.code)"
}

case_bash_recipe() { main_job arc_bash_recipe; }
case_powershell_recipe() { main_job arc_powershell_recipe; }
case_imds_recipe() { main_job imds_recipe; }
case_app_service_recipe() { main_job app_service_recipe; }

# The endpoint of the dialect at hand, with a good query.
endpoint() {
  case "$setting" in
    arc) echo "$IDENTITY_ENDPOINT?api-version=2020-06-01&resource=https://vault.azure.net" ;;
    app-service) echo "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://vault.azure.net" ;;
    imds) echo "$AZURE_POD_IDENTITY_AUTHORITY_HOST/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net" ;;
    imds-address) echo "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net" ;;
  esac
}

# ready: sets $good, the headers with which the endpoint gives a token (on Arc
# with a key of its own, so a refusal is never for want of one).
ready() {
  local file key
  case "$setting" in
    arc)
      file=$(challenge)
      key=$(cat "$file" 2>/dev/null) || fail "no key file to begin with (the challenge names '$file')"
      good=(-H "Metadata: true" -H "Authorization: Basic $key")
      ;;
    app-service) good=(-H "X-IDENTITY-HEADER: $IDENTITY_HEADER") ;;
    *) good=(-H "Metadata: true") ;;
  esac
}

# challenge: the path of a fresh key file.
challenge() {
  local header
  header=$(curl -sS --max-time 10 -o /dev/null -D - -H "Metadata: true" "$(endpoint)" | tr -d '\r' | grep '^Www-Authenticate: Basic realm=/')
  printf '%s' "${header#*realm=}"
}

# refused_otherwise_good STATUS WHAT CURL-ARGUMENTS: as `refused`, with all that
# would otherwise earn a token.
refused_otherwise_good() {
  local wanted=$1 what=$2
  shift 2
  ready
  refused "$wanted" "$what" "${good[@]}" "$@"
}

# What a browser, a proxy or a confused program would send gets no token,
# though everything else about the request is right.
case_bad_requests() {
  local url
  url=$(endpoint)
  if [ "$setting" != app-service ]; then
    refused 400 "no Metadata header" "$url"
    refused 400 "Metadata: false" -H "Metadata: false" "$url"
  fi
  refused_otherwise_good '400|403' "X-Forwarded-For" -H "X-Forwarded-For: 127.0.0.1" "$url"
  refused_otherwise_good '400|403' "a page's Origin" -H "Origin: https://attacker.example" "$url"
  refused_otherwise_good '400|403' "a browser's Sec-Fetch-Site" -H "Sec-Fetch-Site: cross-site" "$url"
  refused_otherwise_good '400|403|421' "a foreign Host" -H "Host: attacker.example" "$url"
  refused_otherwise_good 400 "no resource" "${url%&resource=*}"
  refused_otherwise_good 400 "resource twice" "$url&resource=https://management.azure.com"
  refused_otherwise_good 400 "no api-version" "${url%%\?*}?resource=https://vault.azure.net"
  refused_otherwise_good 400 "client_id twice" "$url&client_id=$(field .machine.client_id)&client_id=$(field .machine.client_id)"
  refused_otherwise_good 400 "two selectors" "$url&client_id=$(field .machine.client_id)&object_id=$(field .machine.principal_id)"
  refused_otherwise_good '400|403|404' "an unknown identity" "$url&client_id=00000000-dead-4bad-8bad-000000000000"
  refused_otherwise_good '400|404|405' "POST" -X POST "$url"
  # The same headers do give a token, unknown query keys or not.
  ready
  ask "${good[@]}" "$url&unheard_of=1"
  [ "$status" = 200 ] || fail "an unknown query key: answered $status, expected 200"
  check_answer "$work/body"
}

# The key file is what proves the caller's group: it must be exactly the file
# every client accepts, be useless to others, and work once.
case_arc_key_file() {
  local url file other used key
  url=$(endpoint)
  refused 401 "the first request" -H "Metadata: true" "$url"
  [ "$(grep -ci '^www-authenticate:' "$work/headers")" = 1 ] || fail "not exactly one Www-Authenticate header"
  ! grep -qi '^retry-after:' "$work/headers" || fail "the 401 has a Retry-After, which the Python client refuses"
  file=$(tr -d '\r' <"$work/headers" | sed -n 's/^Www-Authenticate: Basic realm=//p')
  [[ $file =~ ^/var/opt/azcmagent/tokens/[0-9a-f-]{36}\.key$ ]] || fail "the key file is '$file'"
  [ -f "$file" ] && [ ! -L "$file" ] || fail "the key file is not a plain file"
  [ "$(stat -c %a "$file")" = 440 ] || fail "the key file's mode is $(stat -c %a "$file"), expected 440"
  [ "$(stat -c %s "$file")" -le 4096 ] || fail "the key file has $(stat -c %s "$file") bytes"
  [ "$(tail -c 1 "$file" | od -An -tx1 | tr -d ' ')" != 0a ] || fail "the key file ends with a newline"
  if as_nobody cat "$file" >/dev/null 2>&1; then
    fail "a user outside the group can read the key file"
  fi
  key=$(cat "$file")

  other=$(challenge)
  [ "$other" != "$file" ] || fail "two challenges name one file"
  [ -f "$file" ] || fail "a second challenge took the first one's file away"

  refused '400|401|403' "a truncated key" -H "Metadata: true" -H "Authorization: Basic ${key%?}" "$url"
  refused '400|401|403' "a made-up key" -H "Metadata: true" -H "Authorization: Basic AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" "$url"
  refused '400|401|403' "an empty key" -H "Metadata: true" -H "Authorization: Basic " "$url"
  refused '400|401|403' "a path for a key" -H "Metadata: true" -H "Authorization: Basic $file" "$url"
  refused '400|401|403' "a key by Bearer" -H "Metadata: true" -H "Authorization: Bearer $key" "$url"

  used=$(challenge)
  key=$(cat "$used")
  ask -H "Metadata: true" -H "Authorization: Basic $key" "$url"
  [ "$status" = 200 ] || fail "a good key: answered $status: $(head -c 200 "$work/body")"
  check_answer "$work/body"
  [ ! -e "$used" ] || fail "the key file outlives its use"
  # The same bytes may be answered once more for a moment, as a client repeats a
  # request whose answer it lost; then never again.
  local tries=0
  while ask -H "Metadata: true" -H "Authorization: Basic $key" "$url" && [ "$status" = 200 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || fail "a used key is still good after ten seconds"
    sleep 0.5
  done
  refused '400|401|403' "a key used before" -H "Metadata: true" -H "Authorization: Basic $key" "$url"
}

# IMDS hands out a token for one header, so it looks at who calls.
case_imds_caller() {
  local url
  url=$(endpoint)
  status=$(as_nobody \
    curl -sS --max-time 10 -w '\n%{http_code}' -H "Metadata: true" "$url" 2>&1) || fail "no answer: $status"
  [[ ${status##*$'\n'} =~ ^(400|403)$ ]] || fail "an unprivileged user got ${status##*$'\n'}"
  [[ $status != *access_token* ]] || fail "an unprivileged user got a token"
}

case_app_service_header() {
  local url
  url=$(endpoint)
  refused '400|401|403' "no X-IDENTITY-HEADER" "$url"
  refused '400|401|403' "no X-IDENTITY-HEADER but Metadata" -H "Metadata: true" "$url"
  refused '400|401|403' "an empty header" -H "X-IDENTITY-HEADER;" "$url"
  refused '400|401|403' "a truncated header" -H "X-IDENTITY-HEADER: ${IDENTITY_HEADER%?}" "$url"
  refused '400|401|403' "a longer header" -H "X-IDENTITY-HEADER: ${IDENTITY_HEADER}x" "$url"
}

# The vault, to callers without a good token.
case_vault_refusals() {
  local url=${DENIZEN_VAULT_URL%/} query="api-version=2025-07-01" secret token recipe
  secret=$url/secrets/$(field .secret.name)
  vault_expect 401 "no token" "$secret?$query"
  grep -qiE '^www-authenticate: Bearer authorization="https://[^"]+/[0-9a-f-]{36}", resource="https://[^"]+"' "$work/headers" ||
    fail "the challenge is: $(grep -i '^www-authenticate' "$work/headers")"
  jq -e '.error.code == "Unauthorized"' "$work/body" >/dev/null || fail "the 401's body is $(head -c 200 "$work/body")"
  vault_expect 401 "a token of nonsense" -H "Authorization: Bearer nonsense" "$secret?$query"
  vault_expect 401 "no token, bad request" -X PUT -d '{"value":' "$url/secrets/under_score"

  case "$setting" in
    arc) recipe=arc_bash_recipe ;;
    app-service) recipe=app_service_recipe ;;
    *) recipe=imds_recipe ;;
  esac
  "$recipe" >"$work/token" 2>"$work/why" || fail "no token to begin with: $(cat "$work/why")"
  token=$(jq -er .access_token "$work/token") || fail "no token to begin with: $(cat "$work/token")"
  # The last character of a 256-byte signature is mostly padding bits, so
  # the change is made further inside.
  local signed=${token%.*} signature=${token##*.} flipped=A
  [ "${signature:20:1}" != A ] || flipped=B
  vault_expect 401 "a changed signature" -H "Authorization: Bearer $signed.${signature:0:20}$flipped${signature:21}" "$secret?$query"
  vault_expect 401 "no signature" -H "Authorization: Bearer $signed." "$secret?$query"
  vault_expect 401 "alg none" -H "Authorization: Bearer $(printf '{"alg":"none","typ":"JWT"}' | base64 -w0 | tr '+/' '-_' | tr -d =).$(cut -d. -f2 <<<"$token")." "$secret?$query"
  vault_expect 400 "no api-version" -H "Authorization: Bearer $token" "$secret"
  vault_expect 200 "the good token" -H "Authorization: Bearer $token" "$secret?$query"
}
