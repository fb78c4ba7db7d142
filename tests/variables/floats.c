/* Arguments that are in registers of floating point when it crashes. */
struct pair { double a, b; };

static volatile double sink;

__attribute__((noinline)) int visit(
    const int *where, double factor, float part, long double whole, struct pair pair)
{
    double twice = factor * 2 + pair.b;
    int found = *where;
    sink = twice + part + whole + pair.a;
    return found;
}

int main(int count, char **words)
{
    (void)words;
    struct pair pair = {count, count + 1};
    return visit((int *)(long)(count * 8), count * 1.25, count * 0.1f, count * 2.5L, pair);
}
