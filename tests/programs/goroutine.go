package main

type node struct{ value int }

//go:noinline
func third(p *node, n int) int { return p.value + n }

//go:noinline
func second(p *node, n int) int {
	var kept [20]int
	kept[n&7] = n
	return third(p, kept[n&3]) + kept[1]
}

//go:noinline
func first(n int) int { return second(nil, n*2) + 1 }

func main() {
	done := make(chan int)
	go func() { done <- first(3) }()
	<-done
}
