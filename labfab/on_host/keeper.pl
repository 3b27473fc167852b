# Prints whose a path is, and on a second line the path without the links that root made on its way.
#
# Arguments: PATH (with /. at its end: what is in that folder), FOLLOW (set: its last link too).
#
# Root's is what nobody else can replace: each folder on the way is root's and closed to others.
# The first folder that is not ends the walk, because from there on an account chooses what is there.
# What follows is its owner's, or the account's whose home it is in; nobody's where anybody could
# have put it, or where root cannot look, as in a file system that an account has mounted. Exits with 1
# if the account is gone.
use strict;
$SIG{ALRM} = "DEFAULT"; alarm 5;  # a file system may not answer: then this ends by the signal
my ($path, $follow) = @ARGV;
exit 1 if $path !~ m{^/};
my @todo = map { [$_, 1] } grep { length && $_ ne "." } split m{/}, $path;  # name, is it PATH's own
push @todo, ["", 1] if $path =~ m{/\.?\z};
my ($at, $used, $links, $root) = ("", 0, 0, $>);  # without root's rights, what is one's own
my $is_own = sub { my $uid = shift; $uid == 0 || $uid == $root };

sub answer {  # KEEPER
  print $_[0], "\n", join("/", $at, grep { length } map { $_->[0] } @todo) || "/", "\n";
  exit;
}
# Name, uid and home of the accounts of this host. A directory of a company may have too many to list.
sub accounts {
  my @found;
  if ($^O eq "darwin") { while (my @one = getpwent) { push @found, [@one[0, 2, 7]] } }
  elsif (open my $list, "<", "/etc/passwd") {
    while (<$list>) { chomp; push @found, [(split /:/)[0, 2, 5]] }
  }
  return grep { ($_->[1] // "") =~ /^\d+$/ } @found;
}
sub account {  # UID: the owner of the folder where root's part ends
  my ($name, $depth) = (scalar getpwuid($_[0]), 0);
  for (accounts()) {
    my ($other, $uid, $home) = @$_;
    my @home = grep { length } split m{/}, $home // next;
    next if $uid == 0 || @home < $used || @home < $depth;
    next if index "$path/", join("/", "", @home, "");
    next if @home == $depth && $uid != $_[0];
    ($name, $depth) = ($other, scalar @home);
  }
  answer($name // exit 1);
}
# FOLDER that root's group may write to: says whether a list of access is there. With one, those bits
# of the mode are its mask: what the list gives to others at most, so that without them it lets nobody
# write. The plus sign of ls is all that a bare perl can see of it.
sub has_list {
  open my $ls, "-|", "ls", "-ld", "--", $_[0] or return 1;
  return (<$ls> // "+") =~ /^\S+\+/;
}
sub next_owner {  # NAME in a folder that others can write to, STICKY: whose it is
  my $uid = (lstat "$at/$_[0]")[4] // answer("nobody");
  account($uid) if !$is_own->($uid);
  answer("nobody") if !$_[1];
}

while (@todo) {
  # Whoever owns / has everything anyway.
  my ($mode, $uid, $gid) = length $at ? (lstat $at)[2, 4, 5] : (0755, 0, 0);
  answer("nobody") if !defined $uid;
  account($uid) if !$is_own->($uid);
  my ($name, $given) = @{$todo[0]};
  # Members of root's group, and on a Mac of admin, may use sudo.
  my $trusted = $gid == 0 || $^O eq "darwin" && $gid == 80 ? 002 : 022;
  $trusted = 022 if $mode & 020 && $trusted == 002 && $^O ne "darwin" && has_list($at);
  next_owner($name, $mode & 01000) if $mode & $trusted && length $name;
  last if @todo == 1 && !$follow;
  shift @todo;
  $used += $given;
  if ($name eq "..") { $at =~ s{/[^/]*\z}{}; next }
  if (-l "$at/$name") {
    exit 1 if $links++ > 40;
    my $to = readlink "$at/$name";
    unshift @todo, map { [$_, 0] } grep { length && $_ ne "." } split m{/}, $to;
    $at = "" if $to =~ m{^/};
    next;
  }
  $at .= "/$name" if length $name;
  if (!lstat $at) { last if $! == 2; answer("nobody") }
  last if !-d _;
}
answer("root");
