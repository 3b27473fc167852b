# Prints what facts.sh asks about paths in a home, as the account that the home belongs to.
#
# Arguments: ACCOUNT HOME, then KIND KEY PATH for each path. One without a slash in front is below
# HOME, one that ends with a slash must be a folder.
#
# file: KEY.stat, KEY.text; folder: KEY_stat; of a link that leads to what is not the account's, only
# where it leads: KEY.link, KEY_link. owned: KEY, KEY_mode. place: KEY, mode and owner. there,
# program, prefix: KEY=yes. dists: version.NAME of each package there.
use strict;
use Fcntl;
my $LARGEST = 1048576;  # bytes of a file; half a text must not be taken for the whole
my ($account, $home, @asked) = @ARGV;
my $self = getpwnam($account) // $>;
$| = 1;  # what was said counts, even if the next path does not answer

sub say_fact {
  my ($key, $value) = @_;
  tr/\0-\x1f\x7f/?/ for $key, $value;
  print "$key=$value\n";
}
sub owner { return getpwuid($_[0]) // "UNKNOWN" }
sub mode { return sprintf "%o", $_[0] & 07777 }
sub leads {  # PATH: where it leads, as far as the account may see
  my @todo = grep { length && $_ ne "." } split m{/}, $_[0];
  my ($at, $links) = ("", 0);
  while (@todo) {
    my $name = shift @todo;
    if ($name eq "..") { $at =~ s{/[^/]*\z}{}; next }
    $at .= "/$name";
    my $to = readlink $at;
    next if !defined $to || $links++ > 40;
    unshift @todo, split m{/}, $to;
    @todo = grep { length && $_ ne "." } @todo;
    if ($to =~ m{^/}) { $at = "" } else { $at =~ s{/[^/]*\z}{} }
  }
  return $at;
}
sub leads_away {  # KEY PATH OWNER: says so
  my ($key, $path, $owner) = @_;
  return if defined $owner && $owner == $self || index $path, "$home/";
  my $to = leads($path);
  return if $to eq leads($home) . substr $path, length $home;
  say_fact($key, $to);
  return 1;
}
sub text {  # KEY PATH
  my ($key, $path) = @_;
  sysopen my $file, $path, O_RDONLY | O_NONBLOCK or return;  # a pipe may be there by now
  my $text = "";
  if (-f $file) {
    while (length $text <= $LARGEST) {
      my $got = sysread $file, $text, 65536, length $text;
      return if !defined $got;
      last if !$got;
    }
  }
  say_fact("$key.cut", "yes") if length $text > $LARGEST;
  say_fact("$key.text", base64(substr $text, 0, $LARGEST));
}
sub base64 {  # a bare perl knows only uuencode, which has other letters and a length before each line
  my $padding = (3 - length($_[0]) % 3) % 3;
  my $text = pack "u", $_[0];
  $text =~ s/^.//mg;
  $text =~ tr{` -_\n}{AA-Za-z0-9+/}d;
  substr $text, -$padding, $padding, "=" x $padding if $padding;
  return $text;
}
sub dists {  # FOLDER of a Python
  my $size = 0;  # an account may make any number of them
  for my $lib (map { "$_[0]/lib/$_/site-packages" } grep { /^python3/ } names("$_[0]/lib")) {
    for (names($lib)) {
      next if !/^(.*)-(.*)\.dist-info\z/s || ($size += length) > 1_000_000;
      say_fact("version.$1", $2);
    }
  }
}
sub names { opendir my $folder, $_[0] or return; return sort readdir $folder }

while (my ($kind, $key, $path) = splice @asked, 0, 3) {
  $path = "$home/$path" if $path !~ m{^/};
  my @stat = stat $path;
  my $closed = !@stat && $!{EACCES};
  my ($mode, $owner) = @stat ? (mode($stat[2]), owner($stat[4])) : (0, "UNKNOWN");
  if ($kind eq "file" && (@stat || $closed)) {
    next if leads_away("$key.link", $path, $stat[4]);
    say_fact("$key.stat", "$mode $owner");
    if (-f _) { text($key, $path) } elsif (@stat) { say_fact("$key.text", "") }
  }
  next if !@stat;
  if ($kind eq "folder") {
    say_fact("${key}_stat", "$mode $owner") if -d _ && !leads_away("${key}_link", $path, $stat[4]);
  } elsif ($kind eq "owned") {
    say_fact($key, $owner), say_fact("${key}_mode", $mode) if -d _;
  } elsif ($kind eq "place") { say_fact($key, "$mode $owner")
  } elsif ($kind eq "dists") { dists($path)
  } elsif ($kind ne "file") { say_fact($key, "yes") if $kind ne "program" || -x _ }
}
