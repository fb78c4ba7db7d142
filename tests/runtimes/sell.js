// Ends as the first argument says: by a fatal error of a native module (the second one is its
// file), out of memory, or by itself when it has written a report of an error.
function inner(kind, file) {
  if (kind === 'fatal') process.dlopen({ exports: {} }, file);
  if (kind === 'memory') for (const all = []; ;) all.push(new Array(1000).fill(all.length));
  throw new TypeError('größe ' + kind);
}
class Laden {
  verkaufe(left, ...rest) { return left ? this.verkaufe(left - 1, ...rest) : inner(...rest); }
}
process.on('uncaughtException', (error) => {
  process.report.writeReport(error);
  process.abort();
});
setTimeout(() => new Laden().verkaufe(2, ...process.argv.slice(2)), 1);
