# Sourced by run: the ways a shell script gets a token, each as it is
# documented. They print the token service's JSON and take the endpoint from
# the environment. What matters is how they read the challenge, so that part
# keeps the documented commands: change the server, not these.

# The bash recipe for Arc. `grep` is case-sensitive and `cut` takes the second
# field: the header's name and the single `=` in its value are part of the
# contract. The endpoint goes by its IPv4 address there.
arc_bash_recipe() {
  local url key_file key
  url="${IMDS_ENDPOINT/localhost/127.0.0.1}/metadata/identity/oauth2/token"
  url="$url?api-version=2019-11-01&resource=https%3A%2F%2Fvault.azure.net"
  key_file=$(curl -s -D - -H Metadata:true "$url" | grep Www-Authenticate | cut -d "=" -f 2 | tr -d "[:cntrl:]")
  key=$(cat "$key_file") || {
    echo "no readable key file named by the challenge (got '$key_file')" >&2
    return 1
  }
  curl -s -H Metadata:true -H "Authorization: Basic $key" "$url"
}

# The PowerShell recipe for Arc, step by step with curl: `Metadata: True`, an
# unencoded resource, the header matched and split by `Basic realm=`, the file
# taken raw. `$(cat)` would drop a final newline that `cat -Raw` keeps, so
# the file is read to its end instead.
arc_powershell_recipe() {
  local url header key_file key
  url="$IDENTITY_ENDPOINT?resource=https://vault.azure.net&api-version=2020-06-01"
  header=$(curl -s -o /dev/null -D - -H "Metadata: True" "$url" | tr -d '\r' | grep -i '^WWW-Authenticate:')
  if [[ ! $header =~ Basic\ realm=.+ ]]; then
    echo "the challenge is not 'Basic realm=...' (got '$header')" >&2
    return 1
  fi
  key_file=${header#*Basic realm=}
  if [ ! -r "$key_file" ]; then
    echo "no readable key file named by the challenge (got '$key_file')" >&2
    return 1
  fi
  IFS= read -r -d '' key <"$key_file" || true
  curl -s -H "Metadata: True" -H "Authorization: Basic $key" "$url"
}

# IMDS: one request. The address is the documented one, or the override's.
imds_recipe() {
  curl -s -H Metadata:true \
    "${AZURE_POD_IDENTITY_AUTHORITY_HOST:-http://169.254.169.254}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
}

# App Service: one request with the header from the environment.
app_service_recipe() {
  curl -s -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" \
    "$IDENTITY_ENDPOINT?resource=https://vault.azure.net&api-version=2019-08-01"
}
