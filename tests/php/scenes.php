<?php
// Stands still in the scene that the first argument names, when it has told its own stack.

namespace Laden;

function stand() {
    foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS) as $call) {
        $owner = isset($call['class']) ? strtok($call['class'], "\0") . '::' : '';
        echo $owner . $call['function'], "\t", $call['file'] ?? '', "\t", $call['line'] ?? 0, "\n";
    }
    echo "end\n";
    fflush(STDOUT);
    sleep(60);
}

class Korb {
    function verkäufe($left) { return $left ? $this->verkäufe($left - 1) : stand(); }
    static function one() { (new self)->verkäufe(2); }
    function __toString() { self::one(); return 'x'; }
    function __call($name, $arguments) { stand(); }
    function __destruct() { if (isset($this->stand)) stand(); }
    public $stand = null;
}

function values() {
    yield 1;
    stand();
    yield 2;
}

$scenes = [
    'plain' => fn() => Korb::one(),
    'callback' => fn() => array_map(function ($x) { return (fn() => stand())(); }, [1]),
    'sort' => function () { $a = [3, 2]; usort($a, function ($x, $y) { stand(); return 0; }); },
    'text' => fn() => 'a' . new Korb,
    'missing' => fn() => (new Korb)->missing(1),
    'destroy' => function () { $k = new Korb; $k->stand = 1; unset($k); },
    'generator' => function () { foreach (values() as $value); },
    'eval' => fn() => eval("\n\n\\Laden\\stand();"),
    'nested' => fn() => call_user_func_array([Korb::class, 'one'], []),
    'anonymous' => fn() => (new class { function run() { stand(); } })->run(),
    'handler' => function () { set_error_handler(fn() => stand()); echo $missing; },
];
$scenes[$argv[1]]();
