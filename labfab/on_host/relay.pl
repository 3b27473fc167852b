# Runs a command of an account and passes on what it prints.
#
# Arguments: SECONDS and BYTES (the most it may take and print, 0 for no limit), COMMAND...
#
# The command gets pipes of its own, because a program that it leaves behind could otherwise write
# into the answers of root's shell. What it leaves behind is not waited for: a pipe stays open as
# long as somebody holds it. Exits with the command's code, and with 124 beyond a limit.
use strict;
my ($seconds, $bytes, @command) = @ARGV;
pipe my $wake, my $ended;
pipe my $out, my $out_end;
pipe my $err, my $err_end;
$SIG{CHLD} = sub { syswrite $ended, "." };
defined(my $child = fork) or exit 71;
if (!$child) {
  open STDOUT, ">&", $out_end;
  open STDERR, ">&", $err_end;
  for my $fd (3 .. 255) { open my $inherited, "<&=", $fd }  # closed when it leaves the block
  exec { $command[0] } @command;
  exit 127;
}
close $_ for $out_end, $err_end;
my ($until, $passed, %open) = (time + $seconds, 0, (1 => $out, 2 => $err));
sub stop { kill TERM => $child; exit 124 }
sub pass {  # TARGET: what its pipe has now
  my $got = sysread $open{$_[0]}, my $data, 65536;
  if (!$got) { delete $open{$_[0]}; return }
  stop() if $bytes && ($passed += $got) > $bytes;
  for (my $sent = 0; $sent < $got;) {
    my $wrote = syswrite $_[0] == 1 ? *STDOUT : *STDERR, $data, $got - $sent, $sent;
    exit 74 if !defined $wrote && $! != 4;  # 4: a signal interrupted it
    $sent += $wrote // 0;
  }
}
sub ready {  # SECONDS: waits for the pipes that have something; sets whether the command ended
  my $bits = "";
  vec($bits, fileno $_, 1) = 1 for $wake, values %open;
  return if select($bits, undef, undef, $_[0]) < 1;
  pass($_) for grep { vec $bits, fileno $open{$_}, 1 } keys %open;
  return vec $bits, fileno $wake, 1;
}
until (ready($seconds ? $until - time : undef)) { stop() if $seconds && time >= $until }
# A pipe holds 1 MiB at most.
for (1 .. 16) { ready(0) if %open }
waitpid $child, 0;
exit($? & 127 ? 128 + ($? & 127) : $? >> 8);
