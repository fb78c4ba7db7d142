// C++'s values, on the way to a null pointer.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#define KEEP __attribute__((noinline, noclone))

namespace shop {

enum class Kind : unsigned char { Small, Large = 7 };

struct Base {
    int number = 1;
    virtual ~Base() = default;
};
struct Left : virtual Base { int left = 2; };
struct Right : virtual Base { int right = 3; };

template <typename T> struct Box {
    T value;
    static inline int made = 4;
    Box(T given) : value(given) {}
};

class Cart : public Left, public Right {
public:
    std::string name;
    Box<double> weight{1.5};
    Kind kind = Kind::Large;
    bool open = true;
    Cart *next = nullptr;
    explicit Cart(const char *given) : name(given) {}
    KEEP int total(int factor, const Box<int> &box) const;
};

static volatile int sink;

int Cart::total(int factor, const Box<int> &box) const
{
    int sum = number + left + right + factor + box.value;
    sink += sum;
    return next->number + sum;
}

struct Odd { int a; unsigned b : 2; char c[3]; };

KEEP int visit(const Cart &cart, Box<int> &&box, std::string text, std::string_view view, Odd odd)
{
    std::string longer = text + " and so on, until it does not fit";
    std::vector<int> numbers{3, 1, 2};
    std::vector<std::string> names{"ann", "bob"};
    std::vector<Odd> none;
    std::unique_ptr<Odd> owned(new Odd{5, 2, "xy"});
    std::shared_ptr<int> shared = std::make_shared<int>(77);
    std::optional<int> maybe = 12, nothing;
    int Odd::*member = &Odd::a;
    int (Cart::*method)(int, const Box<int> &) const = &Cart::total;
    int &alias = odd.a;
    auto callback = [&alias, view](int more) { return alias + more + (int)view.size(); };
    int result = callback(1);
    sink += result + (int)numbers.size() + (int)names.size() + (int)longer.size() + odd.*member;
    sink += owned->a + *shared + maybe.value_or(0) + nothing.value_or(0) + (int)none.size();
    return (cart.*method)(alias, box) + sink;
}

}  // namespace shop

int main(int argc, char **)
{
    shop::Cart cart("groceries");
    const std::string greeting = "hello";
    long double third = 1.0L / 3;
    return shop::visit(cart, shop::Box<int>(argc), greeting, "view", {argc, 3, "ab"}) + (int)third;
}
