# Prints the lines of sshd's configuration in the order in which sshd reads them, Includes opened.
#
# Arguments: MAIN (the file that sshd reads first), OURS (labfab's own file). A line each, with tabs
# between: file, number, the criteria of the Match block it stands in (empty: it holds for all), text.
# A line "ours" marks where our file is read for everybody, or would be. Only options that a setup cares for are
# printed. sshd takes the first value of an option.
use strict;
$SIG{ALRM} = "DEFAULT"; alarm 5;
my ($main, $ours) = @ARGV;
my $wanted = join "|", qw(passwordauthentication kbdinteractiveauthentication
  challengeresponseauthentication permitemptypasswords permitrootlogin pubkeyauthentication
  authenticationmethods gssapiauthentication hostbasedauthentication authorizedkeysfile
  authorizedkeyscommand trustedusercakeys revokedkeys allowusers allowgroups denyusers denygroups
  port listenaddress forcecommand chrootdirectory);
my $left = 2000;  # lines

sub files {  # PATTERN of an Include
  my $pattern = shift;
  $pattern = "/etc/ssh/$pattern" if $pattern !~ m{^[/~]};
  my @found = glob $pattern;
  my ($folder) = $ours =~ m{^(.*)/};
  my ($its) = $pattern =~ m{^(.*)/};
  push @found, $ours if $its eq $folder && $pattern =~ /\*/ && !grep { $_ eq $ours } @found;
  return sort @found;
}
sub show {  # FILE MATCH DEPTH
  my ($file, $match, $depth) = @_;
  print "$file\t0\t\tours\n" if $file eq $ours && !length $match;
  return if $depth > 16 || !-f $file || !open my $in, "<", $file;
  my $number = 0;
  while (my $line = <$in>) {
    $number++;
    $line =~ s/[\t\r\n]+/ /g; $line =~ s/^ +| +$//g;
    my ($word, $rest) = $line =~ /^([A-Za-z]+)(?: *= *| +)(.*)$/ or next;
    if (lc($word) eq "include") {
      for my $pattern (map { s/^"|"$//gr } split / +/, $rest) {
        show($_, $match, $depth + 1) for files($pattern);
      }
      next;
    }
    if (lc($word) eq "match") { $match = $rest; next }
    next if lc($word) !~ /^(?:$wanted)$/ || $left-- <= 0;
    print "$file\t$number\t$match\t", substr($line, 0, 300), "\n";
  }
}
show($main, "", 0);
