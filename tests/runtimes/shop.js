// Ends itself in a function that others have called; one of them is compiled by then.

function inner() {
  process.abort();
}

function middle(count) {
  for (let i = 0; i < 3; i++) if (i === 2) inner(count);
}

class Shop {
  sell(count) {
    return count === 0 ? middle(count) : this.sell(count - 1);
  }
}

setTimeout(function later() {
  (() => new Shop().sell(3))();
}, 1);
