package cni

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// printCalls prints a row a kind of call and a column a plugin. A ratio is the median of
// those of the rounds.
func printCalls(w io.Writer, all []*contender) {
	baseline := all[0]
	head, line := "\n| p50 / p99, ms (÷ "+baseline.name+") |", "|---|"
	for _, c := range all {
		head, line = head+" "+c.name+" |", line+"---|"
	}
	fmt.Fprintln(w, head+"\n"+line)
	for _, kind := range []string{"ADD", "DEL", "ADD" + together, "DEL" + together, start} {
		cells := []string{kind}
		for _, c := range all {
			took := func(r round) []time.Duration { return r.of(kind).took }
			cells = append(cells, fmt.Sprintf("%s / %s%s", short(quantile(c.every(took), 0.5)), short(quantile(c.every(took), 0.99)), c.over(baseline, took)))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	for _, kind := range []string{"ADD", "DEL"} {
		cells := []string{"CPU of " + kind}
		for _, c := range all {
			cpu := func(r round) []time.Duration { return r.of(kind).cpu }
			cells = append(cells, short(quantile(c.every(cpu), 0.5))+c.over(baseline, cpu))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	for _, kind := range []string{"ADD", "DEL"} {
		cells := []string{fmt.Sprintf("%s of %d, until the last is done", kind, atOnce)}
		for _, c := range all {
			all := func(r round) []time.Duration { return r.of(kind + together).all }
			cells = append(cells, short(quantile(c.every(all), 0.5))+c.over(baseline, all))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

// every returns the samples of all rounds.
func (c *contender) every(of func(round) []time.Duration) []time.Duration {
	var all []time.Duration
	for _, r := range c.rounds {
		all = append(all, of(r)...)
	}
	return all
}

// over returns the ratio of the medians to those of another, in brackets.
func (c *contender) over(other *contender, of func(round) []time.Duration) string {
	if c == other {
		return ""
	}
	var ratios []float64
	for i, r := range c.rounds {
		ratios = append(ratios, float64(quantile(of(r), 0.5))/float64(quantile(of(other.rounds[i]), 0.5)))
	}
	return fmt.Sprintf(" (%.2f)", median(ratios))
}

// quantile is the q-quantile of samples, by the nearest rank.
func quantile(samples []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// short is a duration in milliseconds with two or three digits.
func short(d time.Duration) string {
	switch ms := float64(d.Microseconds()) / 1000; {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}

// printPackets prints a row a path. A ratio is the median of those of the rounds. The best
// round is the one that other work on the machine has disturbed least.
func printPackets(w io.Writer, all []*path) {
	fmt.Fprintln(w, "\n| | 1 connection, Gbit/s (best) | 8 connections | CPU, s a gigabyte | request and answer, µs: p50 / p99 | ÷ one pair | ÷ routes alone | ÷ rival |\n|---|---|---|---|---|---|---|---|")
	for _, p := range all {
		var answers []time.Duration
		for _, r := range p.rounds {
			answers = append(answers, r.answers...)
		}
		fmt.Fprintf(w, "| %s | %.1f (%.1f) | %.1f (%.1f) | %.2f | %.1f / %.1f | %s | %s | %s |\n", p.name,
			median(p.each(packets.ofOne))/1e9, slices.Max(p.each(packets.ofOne))/1e9,
			median(p.each(packets.ofEight))/1e9, slices.Max(p.each(packets.ofEight))/1e9, median(p.each(packets.ofCPU)),
			microseconds(quantile(answers, 0.5)), microseconds(quantile(answers, 0.99)), p.over(p.pair), p.over(p.limit), p.over(p.rival))
	}
}

func (p packets) ofOne() float64    { return p.one }
func (p packets) ofEight() float64  { return p.eight }
func (p packets) ofCPU() float64    { return p.cpu }
func (p packets) ofAnswer() float64 { return float64(quantile(p.answers, 0.5)) }

func (p *path) each(of func(packets) float64) []float64 {
	var values []float64
	for _, r := range p.rounds {
		values = append(values, of(r))
	}
	return values
}

// over returns the ratios to another path: one connection, eight, CPU, median of answers.
func (p *path) over(other *path) string {
	if other == nil || p == other || len(other.rounds) == 0 {
		return ""
	}
	var texts []string
	for _, of := range []func(packets) float64{packets.ofOne, packets.ofEight, packets.ofCPU, packets.ofAnswer} {
		ratios := p.each(of)
		for i, r := range other.each(of) {
			ratios[i] /= r
		}
		texts = append(texts, fmt.Sprintf("%.2f", median(ratios)))
	}
	return strings.Join(texts, ", ")
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
