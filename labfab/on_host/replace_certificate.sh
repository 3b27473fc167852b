# Puts a new key, certificate and CA in place. $1: their folder, which has next-key.pem, $2: the
# certificate, $3: the CA.
#
# They get their names together, after a check that key and certificate match: the server reads them
# for each connection. A link to a folder would swallow the new file, and macOS has no
# mv -T.

set -eu
umask 022
cd -P "$1"
printf %s "$2" >next-cert.pem
printf %s "$3" >next-ca.pem
key=$(openssl pkey -in next-key.pem -pubout)
cert=$(openssl x509 -in next-cert.pem -noout -pubkey)
[ "$key" = "$cert" ]
for name in key cert ca; do
  if [ -d $name.pem ]; then
    [ -L $name.pem ]
    rm -f $name.pem
  fi
  mv -f next-$name.pem $name.pem
done
