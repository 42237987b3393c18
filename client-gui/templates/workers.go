// workers.go: sums squares in several goroutines
package main

import (
	"fmt"
	"sync"
)

func main() {
	const workers, each = 4, 250000
	sums := make([]int, workers)
	var group sync.WaitGroup
	for w := 0; w < workers; w++ {
		group.Add(1)
		go func(w int) {
			defer group.Done()
			for i := w * each; i < (w+1)*each; i++ {
				sums[w] += i * i
			}
		}(w)
	}
	group.Wait()
	total := 0
	for _, sum := range sums {
		total += sum
	}
	fmt.Println("sum of squares:", total)
}
