# Sourced by the suites that prove an application to the token service itself.

# application_certificates FOLDER: the machine's node key and certificate in the forms an application has its own in
# (node.pem, node.pfx; locked.pfx with the password `of the file`), and a certificate of nobody's (foreign.pem,
# foreign.pfx).
application_certificates() {
  if ! _application_certificates "$@" >"$1/certificates.log" 2>&1; then
    cat "$1/certificates.log" >&2
    return 1
  fi
}

_application_certificates() {
  local work=$1 state
  state=$(dirname "$DENIZEN_DEV_JSON")/agent
  openssl pkcs8 -inform DER -nocrypt -in "$state/node.key" -out "$work/node.key" &&
    cat "$work/node.key" "$state/node.crt" >"$work/node.pem" &&
    openssl pkcs12 -export -in "$work/node.pem" -passout pass: -out "$work/node.pfx" &&
    openssl pkcs12 -export -in "$work/node.pem" -passout "pass:of the file" -out "$work/locked.pfx" &&
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=nobody" -keyout "$work/foreign.key" \
      -out "$work/foreign.crt" &&
    cat "$work/foreign.key" "$work/foreign.crt" >"$work/foreign.pem" &&
    openssl pkcs12 -export -in "$work/foreign.pem" -passout pass: -out "$work/foreign.pfx"
}
