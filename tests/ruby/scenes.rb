# Stands still in the scene that the first argument names, when it has told its own stack.
def stand
  caller_locations(0).each { |call| puts "#{call.label}\t#{call.path}\t#{call.lineno}" }
  puts 'end'
  $stdout.flush
  sleep 60
end

def tief(left) = left.zero? ? stand : tief(left - 1)

class Größe
  include Comparable
  def <=>(other) = stand
  def läuft = stand
  def to_s = stand
  def method_missing(name, *) = name == :fehlt ? stand : super
  def respond_to_missing?(*) = true
  def coerce(other) = stand
  def each; yield 1; end
  define_method(:gemacht) { |x| [x].map { stand } }
  include Enumerable
  def self.const_missing(name) = Object.send(:stand)
  class << self
    def einzeln = new.instance_eval { stand }
  end
end

module Feiner
  refine Integer do
    def fein = tief(1)
    def tief(left) = Object.send(:stand)
  end
end
using Feiner

class Falle
  def self.inherited(klass) = Object.send(:stand)
  def self.method_added(name) = (Object.send(:stand) if name == :neu)
end

SCENES = {
  'plain' => -> { tief(3) },
  'block' => -> { [1].each { |x| [x].each_with_index { |y, z| tief(1) } } },
  'sort' => -> { [3, 2, 1].sort { |a, b| stand } },
  'sort_by' => -> { [3, 2].sort_by { |a| stand } },
  'names' => -> { Größe.new.läuft },
  'compare' => -> { Größe.new < Größe.new },
  'interpolate' => -> { "a#{Größe.new}" },
  'missing' => -> { Größe.new.fehlt(1) },
  'coerce' => -> { 1 + Größe.new },
  'made' => -> { Größe.new.gemacht(1) },
  'each_entry' => -> { Größe.new.map { |x| stand } },
  'inject' => -> { Größe.new.inject(1) { |x| stand } },
  'reduce' => -> { [1, 2].inject { |x, y| stand } },
  'const' => -> { Größe::Fehlt },
  'single' => -> { Größe.einzeln },
  'refined' => -> { 1.fein },
  'inherited' => -> { Class.new(Falle) },
  'added' => -> { Falle.class_eval { def neu; end } },
  'eval' => -> { eval("\n\ntief(1)") },
  'eval_named' => -> { eval("\ntief(1)", binding, "vorlage.erb", 77) },
  'class_eval' => -> { Größe.class_eval("def neues\n\nObject.send(:stand)\nend"); Größe.new.neues },
  'fiber' => -> { Fiber.new { tief(1) }.resume },
  'enumerator' => -> { Enumerator.new { |y| y << 1; tief(1); y << 2 }.each { |x| x } },
  'external' => -> { e = Enumerator.new { |y| y << 1; tief(1) }; e.next; e.next },
  'lazy' => -> { (1..3).lazy.map { |x| stand }.select(&:odd?).first(1) },
  'rescue' => -> { begin; raise 'x'; rescue => e; stand; end },
  'ensure' => -> { begin; tief(0); ensure; 1; end },
  'in_ensure' => -> { begin; raise 'x'; ensure; stand; end },
  'catch' => -> { catch(:ball) { tief(1) } },
  'proc' => -> { proc { |x| stand }.call(1) },
  'lambda' => -> { ->(x) { stand }.(1) },
  'method' => -> { method(:tief).to_proc.call(1) },
  'symbol' => -> { [Größe.new].map(&:läuft) },
  'send' => -> { Größe.new.public_send(:läuft) },
  'curry' => -> { ->(a, b) { stand }.curry[1][2] },
  'hash' => -> { Hash.new { |h, k| stand }[1] },
  'times' => -> { 1.times { 2.upto(3) { stand } } },
  'loop' => -> { loop { stand } },
  'tap' => -> { 1.tap { stand }.then { 2 } },
  'gsub' => -> { 'abc'.gsub(/b/) { stand } },
  'trap' => -> { Signal.trap('USR1') { stand }; Process.kill('USR1', $$); sleep 9 },
  'trace' => -> { TracePoint.new(:call) { |t| stand if t.method_id == :läuft }.enable { Größe.new.läuft } },
  'at_exit' => -> { at_exit { stand } },
  'finalizer' => -> { x = Object.new; ObjectSpace.define_finalizer(x, proc { stand }); exit },
  'load' => -> { load File.join(__dir__, 'loaded.rb') },
  'struct' => -> { Struct.new(:a) { def each_one = yield(a) }.new(1).each_one { stand } },
  'default' => -> { def mit(a, b = stand) = a; mit(1) },
  'super' => -> { Class.new(Größe) { def läuft = super }.new.läuft },
  'prepend' => -> { Größe.prepend(Module.new { def läuft = super }); Größe.new.läuft },
  'instance_exec' => -> { 1.instance_exec(2) { |x| Object.send(:stand) } },
  'thread' => -> { Thread.new { tief(2) }.join },
  'many' => -> { 3.times { |n| Thread.new { tief(n) if n == 2; sleep } }; sleep },
  'ractor' => -> { $VERBOSE = nil; Ractor.new { Object.send(:stand) }.take },
  'long' => -> { langes(0) },
  'recursion' => -> { tief(8000) },
}
eval("def langes(x)\n" + (1..400).map { |n| "x += [#{n}, x].max if x > #{n}\n" }.join + "stand\nend", nil, 'lang.rb')
SCENES[ARGV[0]].call
