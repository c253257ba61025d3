package hashicorp_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// lastLine is the highest number of the lines `<life> <n>`.
func lastLine(text, life string) int {
	last := 0
	for line := range strings.Lines(text) {
		if number, ok := numberOf(line, life); ok {
			last = max(last, number)
		}
	}
	return last
}

func numberOf(line, life string) (int, bool) {
	rest, ok := strings.CutPrefix(line, life+" ")
	if !ok || !strings.HasSuffix(rest, "\n") {
		return 0, false
	}
	number, err := strconv.Atoi(strings.TrimSuffix(rest, "\n"))
	return number, err == nil
}

// judge says what became of the lines from first to last: what is missing, doubled, out of order, or no such line.
func judge(text, life string, first, last int) string {
	seen := make([]int, last+1)
	var missing, doubled, disordered, foreign, before int
	for line := range strings.Lines(text) {
		number, ok := numberOf(line, life)
		if !ok || number < first || number > last {
			foreign++
			continue
		}
		seen[number]++
		if number < before {
			disordered++
		}
		before = number
	}
	for _, count := range seen[min(first, len(seen)):] {
		if count == 0 {
			missing++
		}
		doubled += max(0, count-1)
	}
	return fmt.Sprintf("%d missing, %d doubled, %d out of order, %d foreign", missing, doubled, disordered, foreign)
}

const allThere = "0 missing, 0 doubled, 0 out of order, 0 foreign"

func TestEveryKindOfFaultInNumberedLinesIsCounted(t *testing.T) {
	equal(t, "the judgement", judge("a 1\na 2\na 2\na 5\na 4\nb 3\nnonsense\n", "a", 1, 6),
		"2 missing, 1 doubled, 1 out of order, 2 foreign")
	equal(t, "the judgement", judge("a 1\na 2\n", "a", 1, 2), allThere)
	equal(t, "the last line", lastLine("a 1\na 12\na 3", "a"), 12)
}
