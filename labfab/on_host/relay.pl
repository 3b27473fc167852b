# Runs a command of an account and passes on what it prints.
#
# Arguments: SECONDS and BYTES (the most it may take and print, 0 for no limit), COMMAND...
#
# The command gets pipes of its own, because a program that it leaves behind could otherwise write
# into the answers of root's shell. What it leaves behind is not waited for: a pipe stays open as
# long as somebody holds it. Exits with the command's code, and with 124 beyond a limit. The time is the
# kernel's alarm, because the host's clock may be set meanwhile.
use strict;
my ($seconds, $bytes, @command) = @ARGV;
pipe my $out, my $out_end;
pipe my $err, my $err_end;
pipe my $done, my $done_end;  # closed once the command has ended
my $heard = !-p STDOUT;  # of a pipe, select says when nobody reads any more
my ($passed, %open) = (0, (1 => $out, 2 => $err));

sub run {
  open STDOUT, ">&", $out_end;
  open STDERR, ">&", $err_end;
  for my $fd (3 .. 255) { open my $inherited, "<&=", $fd }  # closed when it leaves the block
  exec { $command[0] } @command;
  exit 127;
}
sub pass {  # TARGET: what its pipe has now
  my $got = sysread $open{$_[0]}, my $data, 65536;
  if (!$got) { delete $open{$_[0]}; return }
  exit 124 if $bytes && ($passed += $got) > $bytes;
  for (my $sent = 0; $sent < $got;) {
    $sent += syswrite($_[0] == 1 ? *STDOUT : *STDERR, $data, $got - $sent, $sent) // exit 74;
  }
}
sub ended {  # SECONDS: passes on what comes within this time; says whether the command has ended
  my $bits = "";
  vec($bits, fileno $_, 1) = 1 for $done, values %open;
  vec($bits, 1, 1) = 1 unless $heard;
  return if select($bits, undef, undef, $_[0]) < 1;
  if (!$heard && vec $bits, 1, 1) {  # what still runs gets five seconds more
    my $left = alarm 5;
    alarm $left if $left && $left < 5;
    $heard = 1;
  }
  pass($_) for grep { vec $bits, fileno $open{$_}, 1 } keys %open;
  return vec $bits, fileno $done, 1;
}
sub pump {
  close $_ for $out_end, $err_end, $done_end;
  $SIG{ALRM} = "DEFAULT";  # it ends the pump, even while nobody reads
  alarm $seconds;
  1 until ended();
  for (1 .. 16) { ended(0) if %open }  # what is left in the pipes, which hold 1 MiB at most
  exit 0;
}
sub code { return $? & 127 ? 128 + ($? & 127) : $? >> 8 }
sub limit {  # CODE of the pump: a limit by its usual code
  my $code = $_[0] == 142 ? 124 : $_[0];
  print STDERR "it took more than $seconds s and was ended\n" if $_[0] == 142 && $seconds;
  print STDERR "it printed more than $bytes bytes and was ended\n" if $_[0] == 124;
  return $code;
}

defined(my $child = fork) or exit 71;
run() unless $child;
defined(my $pump = fork) or exit 71;
pump() unless $pump;
close $_ for $out, $err, $out_end, $err_end;
if (waitpid(-1, 0) == $pump) {  # a limit, or nobody reads any more
  my $code = limit(code());
  kill TERM => $child;
  exit $code;
}
my $code = code();
close $done_end;
waitpid $pump, 0;
exit(limit(code()) || $code);
