package podnetwork_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairwaynet/fairway/api/podnetwork"
)

func status(change func(*podnetwork.Status)) podnetwork.Status {
	s := podnetwork.Status{
		Version: "v1", Mode: "auto", MTU: 1450,
		Ranges: []podnetwork.Usage{
			{Range: netip.MustParsePrefix("10.244.1.0/24"), Used: 100, Size: 255},
			{Range: netip.MustParsePrefix("fd00:1::/64"), Used: 100, Size: 1<<64 - 1},
		},
		Peers: podnetwork.Peers{Link: 150, Overlay: 10}, Problems: []string{"one"},
	}
	change(&s)
	return s
}

// Pods that come and go, and nodes that join a large cluster, are not worth a write each.
func TestDiffers(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*podnetwork.Status)
		want   bool
	}{
		{"nothing", func(*podnetwork.Status) {}, false},
		{"a pod", func(s *podnetwork.Status) { s.Ranges[0].Used++ }, false},
		{"fifteen pods of 255", func(s *podnetwork.Status) { s.Ranges[0].Used += 15 }, false},
		{"sixteen", func(s *podnetwork.Status) { s.Ranges[0].Used -= 16 }, true},
		{"sixty pods in a /64", func(s *podnetwork.Status) { s.Ranges[1].Used += 60 }, false},
		{"seventy", func(s *podnetwork.Status) { s.Ranges[1].Used += 70 }, true},
		{"another range", func(s *podnetwork.Status) { s.Ranges[0].Range = netip.MustParsePrefix("10.244.2.0/24") }, true},
		{"a range less", func(s *podnetwork.Status) { s.Ranges = s.Ranges[:1] }, true},
		{"a node of 160", func(s *podnetwork.Status) { s.Peers.Link++ }, false},
		{"ten nodes", func(s *podnetwork.Status) { s.Peers.Link += 11 }, true},
		{"the first node that is not reached", func(s *podnetwork.Status) { s.Peers.Unreached = 1 }, true},
		{"a version", func(s *podnetwork.Status) { s.Version = "v2" }, true},
		{"a mode", func(s *podnetwork.Status) { s.Mode = "direct" }, true},
		{"an MTU", func(s *podnetwork.Status) { s.MTU = 0 }, true},
		{"a problem", func(s *podnetwork.Status) { s.Problems = []string{"one", "two"} }, true},
		{"a problem of another node", func(s *podnetwork.Status) { s.PeerProblems = []podnetwork.PeerProblem{{Node: "n2"}} }, true},
		{"no problem", func(s *podnetwork.Status) { s.Problems = nil }, true},
	} {
		if got := status(test.change).Differs(status(func(*podnetwork.Status) {})); got != test.want {
			t.Errorf("%s differs: %t", test.name, got)
		}
	}
	nearly := status(func(s *podnetwork.Status) { s.Ranges[0].Used = 254 })
	full := status(func(s *podnetwork.Status) { s.Ranges[0].Used = 255 })
	if !full.Differs(nearly) || !nearly.Differs(full) {
		t.Error("a range that is full, or has room again, does not differ")
	}
}

func TestAnnotationsAreReadAsTheyWereWritten(t *testing.T) {
	written := status(func(*podnetwork.Status) {})
	facts := podnetwork.Facts{VTEP: "02:fc:00:00:00:01", MTU: 1500}
	annotations := map[string]string{podnetwork.StatusAnnotation: written.Text(), podnetwork.FactsAnnotation: facts.Text()}
	is, found, err := podnetwork.ReadStatus(annotations)
	if diff := cmp.Diff(written, is, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || !found || err != nil {
		t.Errorf("%t, %v (-written +read):\n%s", found, err, diff)
	}
	if is, found, err := podnetwork.ReadFacts(annotations); is != facts || !found || err != nil {
		t.Errorf("%+v, %t, %v", is, found, err)
	}
	if _, found, err := podnetwork.ReadFacts(nil); found || err != nil {
		t.Errorf("without annotations: %t, %v", found, err)
	}
	is, found, err = podnetwork.ReadStatus(map[string]string{podnetwork.StatusAnnotation: `{"version": "v1", "mtu": "large"}`})
	if err == nil || !found || is.Version != "" {
		t.Errorf("what cannot be read is %+v, %t, %v", is, found, err)
	}
}

func TestAnAnnotationStaysSmall(t *testing.T) {
	text := status(func(s *podnetwork.Status) {
		for i := range 5000 {
			s.Problems = append(s.Problems, fmt.Sprint(i))
			s.PeerProblems = append(s.PeerProblems, podnetwork.PeerProblem{Node: fmt.Sprint("n", i)})
		}
	}).Text()
	if !strings.Contains(text, `"8","and 4991 more"]`) || strings.Contains(text, `"n10"`) || !strings.Contains(text, `"n9"`) {
		t.Errorf("it says %s", text)
	}
}
