# Sourced by the suites in which people sign in to applications; what a person does is done by person.py.

# people FOLDER: registers the applications of applications.py and exports DENIZEN_APPLICATIONS, which names them;
# DENIZEN_PERSON, the person; and DENIZEN_CERTIFICATES, a folder with own.key and own.crt, which are known to `orders`,
# and foreign.key and foreign.crt, which are nobody's. Keys are in PKCS #8.
people() {
  local name
  export DENIZEN_CERTIFICATES=$1 DENIZEN_APPLICATIONS=$1/applications.json DENIZEN_PERSON
  DENIZEN_PERSON=$(dirname "${BASH_SOURCE[0]}")/person.py
  for name in own foreign; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -keyout "$1/$name.key" -out "$1/$name.crt" \
      2>"$1/log" || { cat "$1/log" >&2; return 1; }
  done
  openssl x509 -in "$1/own.crt" -outform DER -out "$1/own.der" &&
    python3 "$(dirname "${BASH_SOURCE[0]}")/applications.py" "$1/own.der" >"$DENIZEN_APPLICATIONS"
}
