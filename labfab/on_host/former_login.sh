# What an account has to log in with, and for sudo. Prints nothing if there is no such account.
#
# Arguments: ACCOUNT. Facts: home; password, as passwd -S prints it; keys.*, its authorized_keys;
# elsewhere: sshd may find its keys in other places too; sudo: it asks for no password.
# Sets home, ways.
read_account "$1"
[ -n "$entry_home" ] || exit 0
home=$entry_home
echo "[login]"
fact home "$home"
fact password "$(passwd -S "$1" 2>/dev/null | cut -d' ' -f2)"
as_account "$1" perl -e "$AT_HOME" "$1" "$home" file keys .ssh/authorized_keys </dev/null 2>/dev/null |
  grep '^keys\.'
ways=$(/usr/sbin/sshd -T -C "user=$1,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22" 2>/dev/null |
  grep -E '^(authorizedkeysfile|trustedusercakeys|authorizedkeyscommand) ' |
  grep -vxE '[a-z]+ (none|\.ssh/authorized_keys( \.ssh/authorized_keys2)?)')
if [ -n "$ways" ] || [ -e "$home/.ssh/authorized_keys2" ]; then fact elsewhere yes; fi
[ "$1" = root ] || ! as_account "$1" sudo -kn true </dev/null >/dev/null 2>&1 || fact sudo free
