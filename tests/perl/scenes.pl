# Stands still in the scene that the first argument names, when it has told its own stack.
use strict;
use warnings;
use utf8;
use List::Util ();
binmode STDOUT, ':utf8';
$| = 1;

sub stand {
    for (my $level = 0; my @call = caller $level; $level++) {
        last if $level > 100;
        print "$call[3]\t$call[1]\t$call[2]\n";
    }
    print "end\n";
    sleep 60;
}

package Größe::Ж {
    use overload '+' => sub { main::stand() }, '""' => sub { 'x' };
    sub new { bless {}, shift }
    sub DESTROY { main::stand() if $_[0]{stand} }
    sub läuft { main::stand() }
}

package Tied {
    sub TIESCALAR { bless {}, shift }
    sub FETCH { main::stand() }
}

package main;

sub deep { my $left = shift; return $left ? deep($left - 1) + 1 : stand() }

my %scenes = (
    plain => sub { deep(3) },
    sort => sub { my @x = sort { stand() if $a > 1; $a <=> $b } 3, 2, 1 },
    compare => sub { my $by = sub { deep(1) if $a > 1; $a <=> $b }; my @x = sort $by 3, 2, 1 },
    names => sub { Größe::Ж->new->läuft },
    destroy => sub { my $x = Größe::Ж->new; $x->{stand} = 1; undef $x; return },
    ending => sub { our $left = Größe::Ж->new; $left->{stand} = 1 },
    overload => sub { my $sum = Größe::Ж->new + 1 },
    tie => sub { tie my $tied, 'Tied'; my $x = "$tied" },
    eval => sub { eval { eval "\n\ndeep(1); 1" or die } },
    list => sub { List::Util::first { deep(1) } 1, 2 },
    pattern => sub { 'a' =~ /a(?{ stand() })/ },
    warn => sub { local $SIG{__WARN__} = sub { stand() }; warn "x" },
    die => sub { local $SIG{__DIE__} = sub { stand() }; die "x" },
    signal => sub { local $SIG{USR1} = sub { stand() }; kill 'USR1', $$; sleep 1 for 1 .. 9 },
    recursion => sub { no warnings 'recursion'; deep(9000) },
);
$scenes{ $ARGV[0] }->();
