package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairwaynet/fairway/controllers/inspect/snapshot"
	"github.com/fairwaynet/fairway/controllers/inspect/wording"
)

// DNS is the cluster's DNS.
type DNS struct {
	Namespace string       `json:"namespace"`
	Service   string       `json:"service"`
	Addresses []string     `json:"addresses"`
	Servers   []NameServer `json:"servers"`
	// Others answer at the Service, too, and are none of our servers.
	Others []string `json:"others,omitempty"`
	// Problems are what is wrong now, in sentences.
	Problems []string `json:"problems,omitempty"`
	// Said is what servers that still run have said of something wrong, newest first. It may be
	// mended since.
	Said []Saying `json:"said,omitempty"`

	unknown bool // which servers there are
}

// NameServer is a server of the DNS.
type NameServer struct {
	Pod   string `json:"pod"`
	Node  string `json:"node,omitempty"`
	Ready bool   `json:"ready"`
}

// Saying is an event of a server.
type Saying struct {
	At      time.Time `json:"at"`
	Pod     string    `json:"pod"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
}

// nameServers adds the cluster's DNS, if it is Fairway's.
func (o *Overview) nameServers(ctx context.Context, reader snapshot.Reader, services []object) error {
	for _, service := range objectsOf[*corev1.Service](services) {
		if service.Labels["app.kubernetes.io/name"] != "fairway" || service.Labels["app.kubernetes.io/component"] != "dns" {
			continue
		}
		d := DNS{Namespace: service.Namespace, Service: service.Name, Addresses: append([]string{}, service.Spec.ClusterIPs...), Servers: []NameServer{}}
		pods, err := reader.NameServers(ctx, service.Namespace)
		if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
			o.Unknown, d.unknown = append(o.Unknown, "which servers the cluster's DNS has: "+forbidden.Error()), true
		} else if err != nil {
			return err
		}
		events, err := reader.Warnings(ctx, service.Namespace, "fairway-dns")
		if forbidden := (*snapshot.PermissionError)(nil); errors.As(err, &forbidden) {
			o.Unknown = append(o.Unknown, "what the servers of the cluster's DNS say: "+forbidden.Error())
		} else if err != nil {
			return err
		}
		d.judge(pods, readyAt(service, services))
		d.hear(pods, events)
		o.DNS = append(o.DNS, d)
	}
	return nil
}

// readyAt are the pods that answer at a Service, or the addresses of what is none.
func readyAt(service *corev1.Service, objects []object) []string {
	var all []string
	for _, slice := range objectsOf[*discoveryv1.EndpointSlice](objects) {
		if slice.Namespace != service.Namespace || slice.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		for _, e := range slice.Endpoints {
			switch {
			case e.Conditions.Ready != nil && !*e.Conditions.Ready:
			case e.TargetRef != nil && e.TargetRef.Kind == "Pod":
				all = append(all, e.TargetRef.Name)
			default:
				all = append(all, e.Addresses...)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// judge finds what is wrong with the servers.
func (d *DNS) judge(pods []*corev1.Pod, answering []string) {
	for _, pod := range pods {
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		d.Servers = append(d.Servers, NameServer{pod.Name, pod.Spec.NodeName, ready})
	}
	slices.SortFunc(d.Servers, func(a, b NameServer) int { return cmp.Compare(a.Pod, b.Pod) })
	if len(answering) == 0 {
		d.Problems = append(d.Problems, "no server is ready: pods find no names")
	}
	for _, s := range d.Servers {
		if !s.Ready {
			d.Problems = append(d.Problems, fmt.Sprintf("server %s on node %s is not ready", s.Pod, cmp.Or(s.Node, "-")))
		}
	}
	if d.unknown {
		return
	}
	for _, name := range answering {
		if !slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return pod.Name == name }) {
			d.Others = append(d.Others, name)
		}
	}
}

// hear keeps the newest event of each kind from each server that still runs.
func (d *DNS) hear(pods []*corev1.Pod, events []*corev1.Event) {
	for _, e := range events {
		if d.unknown || slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return pod.Name == e.InvolvedObject.Name }) {
			d.Said = append(d.Said, Saying{e.LastTimestamp.UTC(), e.InvolvedObject.Name, e.Reason, e.Message})
		}
	}
	slices.SortFunc(d.Said, func(a, b Saying) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	type kind struct{ pod, reason, message string }
	seen := map[kind]bool{}
	d.Said = slices.DeleteFunc(d.Said, func(s Saying) bool {
		k := kind{s.Pod, s.Reason, s.Message}
		again := seen[k]
		seen[k] = true
		return again
	})
}

// addDNS adds the cluster's DNS as a row of the table.
func (o *Overview) addDNS(row func(cells ...string)) {
	if len(o.DNS) == 0 {
		return
	}
	row()
	row("DNS", "ADDRESS", "SERVERS")
	for _, d := range o.DNS {
		row(d.Namespace+"/"+d.Service, orNone(d.Addresses), d.servers())
	}
}

func (d *DNS) servers() string {
	if d.unknown {
		return "-"
	}
	ready := 0
	for _, s := range d.Servers {
		if s.Ready {
			ready++
		}
	}
	said := fmt.Sprintf("%d of %d ready", ready, len(d.Servers))
	if len(d.Others) > 0 {
		said += ", " + countOf(len(d.Others), "other", "others")
	}
	return said
}

// mostSaid is how many events of the DNS are shown.
const mostSaid = 5

// whysOfDNS says a line for what is wrong with the DNS, and for what its servers said.
func (o *Overview) whysOfDNS(say func(format string, args ...any)) {
	for _, d := range o.DNS {
		for _, p := range d.Problems {
			say("dns %s/%s: %s\n", d.Namespace, d.Service, wording.Printable(p, '\t'))
		}
		if len(d.Others) > 0 {
			say("dns %s/%s: others answer, too: %s\n", d.Namespace, d.Service, wording.Printable(orNone(short(d.Others)), '\t'))
		}
		for _, s := range d.Said[:min(len(d.Said), mostSaid)] {
			say("dns %s/%s: server %s said at %s: %s: %s\n", d.Namespace, d.Service, s.Pod, moment(&s.At), s.Reason, wording.Printable(s.Message, '\t'))
		}
	}
}
