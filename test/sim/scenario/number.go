package scenario

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"storebeat/poweron"
)

// single reads one word and makes a number of it.
func single(r *reader, i int, what string, parse func(string) (float64, bool)) (v Value, next int, ok bool) {
	t := r.at(i)
	if t.kind != word {
		r.want(i, what)
		return v, i, false
	}
	if v.Number, ok = parse(t.text); !ok {
		r.refuse(i, "%s is not %s", t.show(), what)
		return v, i, false
	}
	return v, i + 1, true
}

func readShare(r *reader, i int) (Value, int, bool) {
	return single(r, i, "a share from 0% to 100%", func(text string) (float64, bool) {
		n, ok := percent(text)
		return n, ok && n >= 0 && n <= 1
	})
}

func readDrift(r *reader, i int) (Value, int, bool) {
	return single(r, i, "a drift from -2% to +2%", func(text string) (float64, bool) {
		n, ok := percent(text)
		return n, ok && n >= -0.02 && n <= 0.02
	})
}

func percent(text string) (float64, bool) {
	digits, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(digits, 64)
	return n / 100, ok && err == nil && !math.IsNaN(n)
}

func readSize(r *reader, i int) (Value, int, bool) {
	return single(r, i, "an amount of memory such as 2GiB", func(text string) (float64, bool) {
		n, err := humanize.ParseBytes(text)
		return float64(n), err == nil && n > 0 && n <= poweron.MaxMemory
	})
}

func numberIn(least, most int) func(*reader, int) (Value, int, bool) {
	return func(r *reader, i int) (Value, int, bool) {
		return single(r, i, fmt.Sprintf("a number from %d to %d", least, most), func(text string) (float64, bool) {
			n, err := strconv.Atoi(text)
			return float64(n), err == nil && n >= least && n <= most
		})
	}
}

// readCount reads how often: once, 3 times, at most 2 times.
func readCount(r *reader, i int) (v Value, next int, ok bool) {
	for text, n := range map[string]int{"never": 0, "once": 1, "twice": 2} {
		if r.isWord(i, []string{text}) {
			v.Count = Count{n, n}
			return v, i + 1, true
		}
	}
	bound := ""
	if r.isWord(i, []string{"at"}) {
		if bound = r.at(i + 1).text; bound != "least" && bound != "most" {
			r.wantWords(i+1, []string{"least", "most"})
			return v, i, false
		}
		i += 2
	} else if n, err := strconv.Atoi(r.at(i).text); err != nil || n < 0 {
		r.wantWords(i, []string{"never", "once", "twice", "at"})
		r.want(i, "a number")
		return v, i, false
	}
	n, err := strconv.Atoi(r.at(i).text)
	if err != nil || n < 0 {
		r.want(i, "a number")
		return v, i, false
	}
	if i++; !r.isWord(i, []string{"times", "time"}) {
		r.wantWords(i, []string{"times", "time"})
		return v, i, false
	}
	v.Count = map[string]Count{"": {n, n}, "least": {n, math.MaxInt}, "most": {0, n}}[bound]
	return v, i + 1, true
}
