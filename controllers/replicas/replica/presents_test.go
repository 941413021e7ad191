package replica_test

import (
	"fmt"
	"testing"

	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// A challenge is presented when every replica with Envoys of the gateway says so,
// or, where an Envoy may ask any of them, every replica.
func TestWhereAChallengeIsAnswered(t *testing.T) {
	const digest = "0123456789abcdef"
	answers := []string{"aaaa", digest}
	newcomer := map[route.Gateway]replica.Gateway{gateway: {Envoys: 1, Awaited: 1}}
	for _, test := range []struct {
		name   string
		own    []string
		report replica.Report
		every  bool
		want   replica.Obstacle
	}{
		{"everywhere", answers, replica.Report{Gateways: envoys(1), Challenges: answers}, false, ""},
		{"not at the other", answers, replica.Report{Gateways: envoys(1), Challenges: []string{"aaaa"}}, false, replica.NotYet},
		{"not here", nil, replica.Report{Gateways: envoys(1), Challenges: answers}, false, replica.NotYet},
		{"the other has no Envoys", answers, replica.Report{}, false, ""},
		{"the other has no Envoys, but is asked", answers, replica.Report{}, true, replica.NotYet},
		{"every responder", answers, replica.Report{Challenges: answers}, true, ""},
		{"an Envoy has just come", answers, replica.Report{Gateways: newcomer, Challenges: answers}, false, replica.Newcomer},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPanorama(t)
			p.Tracker.Challenges = func() []string { return test.own }
			p.hear("other", test.report)
			got := p.Presents(digest, gateway, test.every)
			if got.Reason != test.want || got.Served != (test.want == "") {
				t.Errorf("verdict %+v, want %q", got, test.want)
			}
		})
	}
	p := newPanorama(t)
	p.Tracker.Challenges = func() []string { return answers }
	if got := p.Presents(digest, "other", false); got.Reason != replica.NoEnvoy {
		t.Errorf("a gateway without Envoys: %+v", got)
	}
	lease := p.hear("other", replica.Report{Gateways: envoys(1)})
	p.pass(replica.Duration*2, true)
	if got := p.Presents(digest, gateway, true); !got.Served {
		t.Errorf("a replica that is gone is waited for: %+v", got)
	}
	p.Remove(lease)
}

// A Lease holds a bounded number of digests, the same ones on every replica.
func TestReportedChallengesAreBounded(t *testing.T) {
	w := newWorld(0)
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("%016d", i))
	}
	w.Challenges = func() []string { return all }
	annotations, err := w.Report().Annotations()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, value := range annotations {
		size += len(value)
	}
	report, err := replica.ParseReport(annotations)
	if err != nil || len(report.Challenges) != 200 || report.Challenges[199] != all[199] || size > 8<<10 {
		t.Errorf("%d challenges in %d bytes, %v", len(report.Challenges), size, err)
	}
}
