package replica_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/replicas/replica"
	"github.com/fairwaynet/fairway/xds/route"
)

// panorama is a View of replica "own" with a clock that the test turns.
type panorama struct {
	*replica.View

	t       *testing.T
	now     time.Time
	version int
}

func newPanorama(t *testing.T) *panorama {
	t.Helper()
	w := newWorld(0)
	p := &panorama{t: t, now: time.Unix(1_000_000, 0)}
	p.View = &replica.View{Identity: "own", Tracker: &w.Tracker, Log: logr.Discard(), Now: func() time.Time { return p.now }}
	w.connect(1)
	w.touch(nameOf("any")) // version 1
	p.hear("own", replica.Report{})
	p.pass(10*time.Second, true)
	return p
}

// hear delivers a Lease that was written now.
func (p *panorama) hear(identity string, report replica.Report) *coordinationv1.Lease {
	p.t.Helper()
	annotations, err := report.Annotations()
	if err != nil {
		p.t.Fatal(err)
	}
	p.version++
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "fairway-controller-" + identity, Annotations: annotations, ResourceVersion: strconv.Itoa(p.version)},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &identity, RenewTime: &metav1.MicroTime{Time: p.now}},
	}
	p.Update(lease)
	return lease
}

// pass lets time pass, in which our own Lease is renewed or nothing is heard.
func (p *panorama) pass(d time.Duration, connected bool) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(time.Second)
		if connected {
			p.hear("own", replica.Report{})
		}
	}
}

func (p *panorama) wants(obstacle replica.Obstacle) {
	p.t.Helper()
	got := p.Served(nameOf("any"), 1, gateway)
	if got.Reason != obstacle || got.Served != (obstacle == "") {
		p.t.Errorf("verdict %+v, want %q", got, obstacle)
	}
}

// Envoys that have lost their controller need a while to find another, and
// meanwhile serve what they have. A replica that has just started, or has seen
// another one go, does not know of them.
func TestEnvoysWithoutControllerAreAwaited(t *testing.T) {
	p := newPanorama(t)
	p.wants("")
	lease := p.hear("other", replica.Report{Gateways: envoys(1), Watermark: 9})
	p.Remove(lease)
	p.wants(replica.Homeless)
	p.pass(5*time.Second, true)
	p.wants(replica.Homeless)
	p.pass(time.Second, true)
	p.wants("")
	p.Remove(p.hear("without", replica.Report{}))
	p.wants("")
	p.pass(time.Minute, false)
	p.hear("own", replica.Report{}) // it is back; others may be too
	p.wants(replica.Homeless)
	p.pass(6*time.Second, true)
	p.wants("")

	fresh := &replica.View{Identity: "own", Tracker: p.Tracker, Log: logr.Discard(), Now: p.Now}
	if got := fresh.Served(nameOf("any"), 1, gateway); got.Reason != replica.Homeless {
		t.Errorf("who has just started says %+v", got)
	}
}

func envoys(n int) map[route.Gateway]replica.Gateway {
	return map[route.Gateway]replica.Gateway{gateway: {Envoys: n, Synced: n}}
}

func TestWhatOtherReplicasSay(t *testing.T) {
	held := func(reason replica.HeldUpReason) []replica.HeldUp {
		return []replica.HeldUp{{Ingress: nameOf("any"), Version: 1, Reason: reason, Detail: "why"}}
	}
	for _, test := range []struct {
		name   string
		report replica.Report
		want   replica.Obstacle
	}{
		{"its Envoys serve it", replica.Report{Watermark: 1, Gateways: envoys(1)}, ""},
		{"it has not seen it", replica.Report{Gateways: envoys(1)}, replica.NotYet},
		{"it has no Envoys", replica.Report{}, ""},
		{"its Envoys are another gateway's", replica.Report{Gateways: map[route.Gateway]replica.Gateway{"other": {Envoys: 1, Synced: 1}}}, ""},
		{"it is held up", replica.Report{Watermark: 1, Gateways: envoys(1), HeldUp: held(replica.Waiting)}, replica.NotYet},
		{"it is refused", replica.Report{Watermark: 1, Gateways: envoys(1), HeldUp: held(replica.Rejected)}, replica.Refused},
		{"another is held up", replica.Report{Watermark: 1, Gateways: envoys(1), HeldUp: []replica.HeldUp{{Ingress: nameOf("else"), Version: 1}}}, ""},
		{"it knows other classes", replica.Report{Watermark: 1, Scope: "other", Gateways: envoys(1)}, replica.NotYet},
		{"an Envoy has just come", replica.Report{Watermark: 1, Gateways: map[route.Gateway]replica.Gateway{gateway: {Envoys: 1, Awaited: 1}}}, replica.Newcomer},
		{"an Envoy never catches up", replica.Report{Watermark: 1, Gateways: map[route.Gateway]replica.Gateway{gateway: {Envoys: 1}}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPanorama(t)
			p.hear("other", test.report)
			p.wants(test.want)
		})
	}
}

// A live replica whose Lease cannot be read may have Envoys. No Ingress is given
// an address meanwhile, and the log says so once.
func TestUnreadableLease(t *testing.T) {
	p := newPanorama(t)
	p.Tracker.Challenges = func() []string { return []string{"digest"} }
	said := 0
	p.Log = funcr.New(func(_, _ string) { said++ }, funcr.Options{})
	garbled := func() {
		p.version++
		p.Update(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{
				Name: "fairway-controller-other", ResourceVersion: strconv.Itoa(p.version),
				Annotations: map[string]string{"fairway.dev/watermark": "all of them"},
			},
			Spec: coordinationv1.LeaseSpec{HolderIdentity: new("other"), RenewTime: &metav1.MicroTime{Time: p.now}},
		})
	}
	for range 3 {
		garbled()
		p.pass(5*time.Second, true)
		p.wants(replica.Unreadable)
		if got := p.Presents("digest", gateway, false); got.Reason != replica.Unreadable {
			t.Errorf("a challenge that it may not answer: %+v", got)
		}
	}
	if said != 1 {
		t.Errorf("said %d times, want once", said)
	}
	p.hear("other", replica.Report{Watermark: 1, Gateways: envoys(1)})
	p.wants("")
	garbled()
	p.wants(replica.Unreadable)
	if said != 2 {
		t.Errorf("said %d times, want a second time", said)
	}
	p.pass(16*time.Second, true)
	p.wants("") // it is gone
}

// A replica that is gone is waited for as long as its Lease holds.
func TestExpiredLease(t *testing.T) {
	p := newPanorama(t)
	lease := p.hear("other", replica.Report{Gateways: envoys(1)})
	p.pass(14*time.Second, true)
	p.wants(replica.NotYet)
	p.pass(2*time.Second, true)
	p.wants("")
	p.Update(lease) // the same again is no news
	p.wants("")
	p.hear("other", replica.Report{Gateways: envoys(1)})
	p.wants(replica.NotYet)
	p.Remove(lease)
	p.pass(6*time.Second, true) // its Envoys come back meanwhile
	p.wants("")
}

// The clock of a replica's machine may be wrong: what counts is when we hear of it.
func TestClocksAreNotCompared(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
		p := newPanorama(t)
		lease := p.hear("other", replica.Report{Gateways: envoys(1)})
		for range 3 {
			p.version++
			lease.ResourceVersion = strconv.Itoa(p.version)
			lease.Spec.RenewTime = &metav1.MicroTime{Time: p.now.Add(wrong)}
			p.Update(lease)
			p.wants(replica.NotYet)
			p.pass(10*time.Second, true)
		}
		p.pass(6*time.Second, true)
		p.wants("")
	}
}

// While nothing is heard at all, and for a while after, no replica counts as gone.
func TestNobodyIsGoneWhileNothingIsHeard(t *testing.T) {
	p := newPanorama(t)
	p.hear("other", replica.Report{Gateways: envoys(1)})
	p.pass(2*time.Minute, false)
	p.wants(replica.NotYet)
	p.pass(10*time.Second, true)
	p.wants(replica.NotYet)
	p.pass(10*time.Second, true)
	p.wants("")
}

// A Lease that was old when we first saw it is a relic, and is removed.
func TestRelics(t *testing.T) {
	p := newPanorama(t)
	p.hear("other", replica.Report{Gateways: envoys(1)})
	p.pass(time.Minute, true)
	if relics := p.Relics(); len(relics) > 0 {
		t.Errorf("relics %q after a minute", relics)
	}
	p.pass(2*time.Minute, true)
	if diff := cmp.Diff([]string{"fairway-controller-other"}, p.Relics()); diff != "" {
		t.Errorf("relics (-want +got):\n%s", diff)
	}
}

func TestReportIsReadAsItWasWritten(t *testing.T) {
	want := replica.Report{
		Watermark: 12, Scope: "a1", Version: "v1.2.3",
		Gateways:   map[route.Gateway]replica.Gateway{gateway: {Envoys: 2, Synced: 2, Versions: []string{"1.40.0"}}},
		HeldUp:     []replica.HeldUp{{Ingress: nameOf("any"), Version: 3, Reason: replica.Rejected, Detail: "why"}},
		Challenges: []string{"a", "b"},
		Problems: []problem.Problem{{
			Object: problem.Object{Kind: "ConfigMap", Name: nameOf("any")}, Field: "data[a.yaml]", Reason: "Refused", Message: "why",
		}},
	}
	annotations, err := want.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	got, err := replica.ParseReport(annotations)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A Lease stays small: it has the first Problems, and the beginning of each.
func TestALeaseHasTheFirstProblems(t *testing.T) {
	var many []problem.Problem
	for i := range 1000 {
		many = append(many, problem.Problem{Field: strconv.Itoa(i), Message: strings.Repeat("x", 5000)})
	}
	annotations, err := replica.Report{Problems: many}.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	annotations["fairway.dev/gateways"], annotations["fairway.dev/held-up"] = "{}", "[]"
	got, err := replica.ParseReport(annotations)
	if err != nil || len(got.Problems) != 30 || got.Problems[29].Field != "29" || len(got.Problems[0].Message) > 1030 {
		t.Errorf("%d Problems, %v", len(got.Problems), err)
	}
	if annotations, err = (replica.Report{}).Annotations(); err != nil || annotations["fairway.dev/problems"] != "" {
		t.Errorf("without Problems: %v, %v", annotations, err)
	}
	annotations["fairway.dev/problems"] = "{"
	if _, err := replica.ParseReport(annotations); err == nil || !strings.Contains(err.Error(), "fairway.dev/problems: ") {
		t.Errorf("damaged: %v", err)
	}
}
