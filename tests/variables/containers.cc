// The standard library's containers, on the way to a null pointer.
#include <array>
#include <atomic>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#define KEEP __attribute__((noinline, noclone))

struct Item { std::string name; int price; };
struct Tail { char a; long b; };
struct Large { char bytes[300]; };
struct Shelf { std::map<int, Item> items; std::vector<std::string> labels; Item *next; };

template <typename... T> KEEP int used(const T &...) { return sizeof...(T); }

KEEP int visit(const Shelf &shelf, std::string_view view)
{
    std::string empty, fifteen(15, 'a'), sixteen(16, 'b'), longer(22, 'c'), longest(23, 'd');
    std::string cut(500, 'x');
    std::wstring wide = L"wide \u00e4", wider(40, L'w');
    std::u16string words = u"sixteen \U0001F600";
    std::vector<bool> flags{true, false, true};
    std::vector<bool> password_bits{true, false, true};
    std::map<std::string, std::string> settings{{"color", "red"}, {"password", "hunter2"}};
    std::map<int, char> numbered;
    for (int number = 0; number < 100; number++)
        numbered[number * 7 % 100] = 'a' + number % 26;
    std::multimap<int, Tail> tails{{1, {'x', -1}}, {1, {'y', -2}}};
    std::set<char> letters{'c', 'a', 'b'};
    std::unordered_map<std::string, double> weights{{"apple", 0.5}};
    std::unordered_map<char, Tail> compact{{'k', {'t', 9}}};
    std::unordered_set<long long> ids{77};
    std::map<int, int> none;
    std::list<std::string> queue{"first", "second"};
    std::deque<int> numbers;
    for (int number = 0; number < 300; number++)
        numbers.push_back(number);
    for (int number = 0; number < 200; number++)
        numbers.pop_front();
    std::deque<Large> large(3);
    large[1].bytes[0] = 'L';
    std::unique_ptr<Item> owned(new Item{"owned", 1}), nobody;
    std::shared_ptr<Item> shared = std::make_shared<Item>(Item{"shared", 2});
    std::optional<std::string> maybe = "yes", nothing;
    std::variant<int, std::string, Tail> either = std::string("text"), other = Tail{'z', 3};
    std::tuple<int, std::string, double> three{1, "two", 2.5};
    std::tuple<> no_tuple;
    std::array<short, 3> fixed{1, 2, 3};
    std::atomic<int> counter{5};
    std::map<std::string, std::vector<int>> nested{{"a", {1, 2}}, {"b", {}}};
    std::string api_token = "hunter2";
    std::map<std::string, int> pin_codes{{"ann", 4711}};
    used(empty, fifteen, sixteen, longer, longest, cut, wide, wider, words, flags, settings, numbered, tails,
         letters, weights, compact, ids, none, queue, numbers, large, owned, nobody, shared, maybe, nothing, either,
         other, three, no_tuple, fixed, counter, nested, api_token, pin_codes, view);
    return shelf.next->price;
}

int main()
{
    Shelf shelf{{{4, {"four", 44}}}, {"left"}, nullptr};
    return visit(shelf, "view");
}
