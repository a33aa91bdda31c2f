# Sourced by run: the cases. Each prints what was wrong and returns 1; 3 where the program itself cannot.
# Every case has a home directory of its own, since kubelogin keeps tokens there.

# The application id of AKS, for which kubelogin is asked in any cluster.
AKS=6dae42f8-4368-4678-94ff-3960e28e3630
NOBODY=00000000-dead-4bad-8bad-000000000000
BLOB=$'first line\n"quoted" \\ back, tab\t, ünïcode ☃, <&>, no line feed at the end'

# equal WHAT FOUND WANTED
equal() {
  [[ $2 = "$3" ]] || { echo "$1 is '$2', expected '$3'"; return 1; }
}

# quick PROGRAM ARGUMENT...: runs it with a home of its own, and not for longer than a person would wait.
quick() {
  local name=$1 home
  shift
  home=$(mktemp -d "$work/home.XXXXXX")
  HOME=$home timeout -k 2 30 "$tools/$name" "$@"
}

# refused PATTERN COMMAND...: it must fail, by an answer whose text matches, and quickly.
refused() {
  local pattern=$1 text code=0 started=$SECONDS
  shift
  text=$("$@" 2>&1) || code=$?
  text=${text//[$'\n\t']/ }
  ((code != 0)) || { echo "accepted, expected a refusal"; return 1; }
  ((SECONDS - started < 15)) || { echo "refused only after $((SECONDS - started)) s"; return 1; }
  [[ ! $text =~ connection\ refused|no\ such\ host|deadline\ exceeded|unreachable ]] \
    || { echo "no refusal but no answer: $text"; return 1; }
  [[ $text =~ $pattern ]] || { echo "ended with $code, and not for '$pattern': $text"; return 1; }
}

# with_wrong_header CASE: the right header with its last character missing.
with_wrong_header() {
  IDENTITY_HEADER=${IDENTITY_HEADER%?} "$1"
}

# refused_for_nobody COMMAND...: no identity of that id. Older versions of azidentity take no user-assigned identity on
# Arc; then their own words are the case.
refused_for_nobody() {
  [[ -n ${IMDS_ENDPOINT:-} && $1 = kubelogin ]] || { refused "RESPONSE 400.*dentity not found" "$@"; return; }
  refused "Azure Arc doesn't support user-assigned managed identities" "$@" || return 1
  echo "azidentity refuses: Azure Arc doesn't support user-assigned managed identities"
  return 3
}

# kubelogin, as kubectl runs it

kubelogin() {
  local request='{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}'
  KUBERNETES_EXEC_INFO=$request quick kubelogin get-token --server-id "$AKS" "$@"
}

# kubelogin_token OID APPID ARGUMENT...: the credential it prints is a token for AKS of that principal.
kubelogin_token() {
  local oid=$1 appid=$2 credential token claims expires
  shift 2
  credential=$(kubelogin "$@") || { echo "kubelogin failed"; return 1; }
  token=$(jq -er 'select(.kind == "ExecCredential").status.token' <<<"$credential") || { echo "no token"; return 1; }
  claims=$(jq -Rec 'split(".")[1] | gsub("-"; "+") | gsub("_"; "/") | . + "==="[:(4 - length % 4) % 4]
    | @base64d | fromjson' <<<"$token") || { echo "the token is not a JWT"; return 1; }
  equal aud "$(jq -r .aud <<<"$claims")" "$AKS" \
    && equal appid "$(jq -r .appid <<<"$claims")" "$appid" \
    && equal tid "$(jq -r .tid <<<"$claims")" "$(field .tenant_id)" \
    && { [[ -z $oid ]] || equal oid "$(jq -r .oid <<<"$claims")" "$oid"; } \
    || return 1
  # Counted by the client from its own clock.
  expires=$(jq '(.status.expirationTimestamp | fromdate)' <<<"$credential")
  ((expires - $(jq .exp <<<"$claims") < 60 && $(jq .exp <<<"$claims") - expires < 60)) \
    || { echo "expirationTimestamp is $expires, the token's own exp is $(jq .exp <<<"$claims")"; return 1; }
}

kubelogin_managed_identity() {
  kubelogin_token "$(field .machine.principal_id)" "$(field .machine.client_id)" --login msi
}

kubelogin_unknown_identity() { refused_for_nobody kubelogin --login msi --client-id "$NOBODY"; }
kubelogin_refused() { refused "RESPONSE 401.*X-IDENTITY-HEADER" kubelogin --login msi; }

# kubelogin_spn COMMAND...: as an application. An authority of one's own has no entry in Entra's list of clouds; the
# program has an option for that. Its variables go before its options, so none is left.
kubelogin_spn() {
  local tenant=$AZURE_TENANT_ID
  unset AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET
  "$@" --login spn --disable-instance-discovery --authority-host "$AZURE_AUTHORITY_HOST/" --tenant-id "$tenant"
}

kubelogin_secret() {
  kubelogin_spn kubelogin_token "" "$AZURE_CLIENT_ID" --client-id "$AZURE_CLIENT_ID" \
    --client-secret "$AZURE_CLIENT_SECRET"
}

kubelogin_wrong_secret() {
  kubelogin_spn refused AADSTS7000215 kubelogin --client-id "$AZURE_CLIENT_ID" --client-secret "${AZURE_CLIENT_SECRET}x"
}

# kubelogin_certificate FILE PASSWORD: the machine, as an application with a certificate.
kubelogin_certificate() {
  local client options=()
  client=$(field .machine.client_id) || return 1
  [[ -z $2 ]] || options=(--client-certificate-password "$2")
  kubelogin_spn kubelogin_token "$(field .machine.principal_id)" "$client" --client-id "$client" \
    --client-certificate "$work/$1" "${options[@]}"
}

kubelogin_foreign_certificate() {
  kubelogin_spn refused AADSTS700027 kubelogin --client-id "$(field .machine.client_id)" \
    --client-certificate "$work/foreign.pem"
}

# vals: a secret by its reference

vals() { quick vals get "ref+azurekeyvault://${DENIZEN_VAULT_URL#https://}/$1"; }

# Compared without showing either: results are kept and published.
vals_default() {
  local value
  value=$(vals "$(field .secret.name)") || { echo "vals failed"; return 1; }
  [[ $value = "$(field .secret.value)" ]] || { echo "the value is not the vault's"; return 1; }
}

vals_managed_identity() { AZKV_AUTH=managed vals_default; }
vals_missing_secret() { refused SecretNotFound vals "missing-$RANDOM-$RANDOM"; }
vals_refused() { AZKV_AUTH=managed refused "RESPONSE 401.*X-IDENTITY-HEADER" vals "$(field .secret.name)"; }

# vals has no option for an authority that is not in Entra's list of clouds, so it asks Entra about ours first. Here
# that has no answer; were it to get one, the case must be a real one.
vals_secret() {
  local text
  if text=$(vals "$(field .secret.name)" 2>&1); then
    [[ $text = "$(field .secret.value)" ]] || { echo "the value is not the vault's"; return 1; }
    return 0
  fi
  [[ $text = *login.microsoftonline.com* ]] \
    || { echo "vals failed, and not for Entra's list: ${text//$'\n'/ }"; return 1; }
  echo "vals cannot switch instance discovery off, so it asks login.microsoftonline.com about the authority"
  return 3
}

# rclone with Azurite

# rclone_remote OPTIONS PATH: a connection string; OPTIONS is what selects the credential.
rclone_remote() {
  printf ":azureblob,account=devstoreaccount1,%s,endpoint='%s':%s" "$1" "$SUITE_STORAGE_URL" "$2"
}

rclone() {
  quick rclone --config "" --retries 1 --low-level-retries 1 "$@"
}

# rclone_blobs use_msi|env_auth: a container from its making to its end, and two blobs in it.
rclone_blobs() {
  local options=$1=true container=rclone-$RANDOM-$RANDOM at listed
  # An authority of one's own has no entry in Entra's list of clouds; the program has an option for that.
  [[ -z ${AZURE_CLIENT_SECRET:-} ]] || options=$options,disable_instance_discovery=true
  at() { rclone_remote "$options" "$container$1"; }
  rclone mkdir "$(at "")" || { echo "the container could not be made"; return 1; }
  printf %s "$BLOB" | rclone rcat "$(at /one.txt)" || { echo "the blob could not be written"; return 1; }
  head -c 3000000 /dev/urandom >"$work/$container" && rclone copyto "$work/$container" "$(at /two)" \
    || { echo "the file could not be copied"; return 1; }
  listed=$(rclone lsf --format ps --separator ' ' "$(at "")") || { echo "the container could not be listed"; return 1; }
  equal listing "$listed" "one.txt $(printf %s "$BLOB" | wc -c)"$'\n'"two 3000000" || return 1
  equal blob "$(rclone cat "$(at /one.txt)")" "$BLOB" || return 1
  rclone cat "$(at /two)" | cmp -s - "$work/$container" || { echo "the file read is not the file copied"; return 1; }
  rclone deletefile "$(at /one.txt)" || { echo "the blob could not be deleted"; return 1; }
  equal "listing after deletion" "$(rclone lsf "$(at "")")" two || return 1
  rclone purge "$(at "")" || { echo "the container could not be deleted"; return 1; }
  refused "directory not found|ContainerNotFound" rclone lsf "$(at "")"
}

rclone_missing_container() {
  refused "directory not found|ContainerNotFound" rclone lsf "$(rclone_remote use_msi=true missing-container)"
}

rclone_unknown_identity() {
  refused_for_nobody rclone lsf "$(rclone_remote "use_msi=true,msi_client_id=$NOBODY" "")"
}

rclone_refused() { refused "RESPONSE 401.*X-IDENTITY-HEADER" rclone lsf "$(rclone_remote use_msi=true "")"; }

rclone_wrong_secret() {
  AZURE_CLIENT_SECRET=${AZURE_CLIENT_SECRET}x refused AADSTS7000215 \
    rclone lsf "$(rclone_remote env_auth=true,disable_instance_discovery=true "")"
}
