# Sourced by the suites whose client stores blobs: Azurite, the storage emulator, over https on a free loopback port,
# with its data in memory. Its certificate is of a CA made for this one run, which the client under test finds where it
# finds every other: in SSL_CERT_FILE.

azurite_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
azurite=

install_azurite() {
  local wanted stamp=$azurite_folder/node_modules/.installed
  wanted=$(sha256sum <"$azurite_folder/package-lock.json")
  if [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]]; then
    (cd "$azurite_folder" && npm ci --silent --ignore-scripts)
    printf '%s' "$wanted" >"$stamp"
  fi
}

# start_azurite FOLDER: keeps its certificate and log in FOLDER, sets `azurite` to its process, and exports
# SUITE_STORAGE_URL and SSL_CERT_FILE. Azurite does not know the api-version of the newest client, and without
# --skipApiVersionCheck refuses every request for that alone.
start_azurite() {
  local work=$1 line="" log=$1/azurite.log
  if ! _azurite_certificate "$work" >"$log" 2>&1; then
    cat "$log" >&2
    return 1
  fi
  node "$azurite_folder/node_modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 --blobPort 0 --oauth basic \
    --cert "$work/azurite.pem" --key "$work/azurite.key" --skipApiVersionCheck --inMemoryPersistence --silent \
    --disableTelemetry >"$log" 2>&1 &
  azurite=$!
  for _ in {1..300}; do
    line=$(sed -n 's/^.*successfully listens on https:\/\/127\.0\.0\.1:\([0-9]*\).*$/\1/p' "$log")
    [[ -z $line ]] || break
    kill -0 "$azurite" 2>/dev/null || break
    sleep 0.1
  done
  if [[ -z $line ]]; then
    cat "$log" >&2
    return 1
  fi
  cat "$DENIZEN_CA_BUNDLE" "$work/azurite-ca.pem" >"$work/roots.pem"
  export SUITE_STORAGE_URL=https://localhost:$line/devstoreaccount1 SSL_CERT_FILE=$work/roots.pem
}

# A CA, and what it says of localhost.
_azurite_certificate() {
  local work=$1 key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${key[@]}" -days 2 -subj "/CN=Storage emulator CA" -keyout "$work/azurite-ca.key" \
    -out "$work/azurite-ca.pem" &&
    openssl req "${key[@]}" -subj "/CN=localhost" -keyout "$work/azurite.key" -out "$work/azurite.csr" &&
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' \
      >"$work/azurite.extensions" &&
    openssl x509 -req -in "$work/azurite.csr" -CA "$work/azurite-ca.pem" -CAkey "$work/azurite-ca.key" \
      -CAcreateserial -days 2 -extfile "$work/azurite.extensions" -out "$work/azurite.pem"
}
