package explain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

// conclude says in a sentence where the request ends, and what to do about it.
func (w *trace) conclude(ctx context.Context, trace route.Trace) error {
	said := w.said
	switch said.End {
	case route.EndForwarded:
		said.Summary = fmt.Sprintf("Service %s answers.", said.Backend.Service)
	case route.EndChallenge:
		said.Summary = fmt.Sprintf("%d: the gateway answers a challenge of a certificate authority.", said.Status)
	case route.EndRedirected:
		said.Summary = fmt.Sprintf("%d: the client is sent on once more.", said.Status)
	case EndMisdirected:
		if said.Listener.Name == "https" {
			said.Summary = fmt.Sprintf("%d: the host is not served over a connection for another server name.", said.Status)
			said.next("ask for the URL https://%s%s, without the header", w.question.Request.Authority, w.question.Request.Target)
			break
		}
		said.Summary = fmt.Sprintf("%d: the host serves nothing without TLS.", said.Status)
		said.next("ask for the URL with https")
	case EndNoEndpoints:
		w.concludeNoEndpoints()
	case route.EndUnavailable:
		w.concludeUnavailable(trace.Matching[0])
	case route.EndNoPath:
		said.Summary = fmt.Sprintf("404: no Ingress serves the path %s of host %s.", said.Path.Path, said.Host.Served)
		said.next("add a rule for it; %s", servedPaths(trace.Served))
		if said.Host.Match != "default" {
			said.next("no other host is tried: the host that matches best takes all of its requests")
		}
	case route.EndNoHost:
		said.Summary = fmt.Sprintf("404: nobody serves host %s at gateway %s.", trace.Host, said.Gateway)
		return w.concludeNoHost(ctx, trace)
	case route.EndBadPath:
		said.Summary = fmt.Sprintf("%d: the gateway refuses the path.", said.Status)
		said.next("%s", lastOf(said.Path.Steps))
	case route.EndBadHost:
		said.Summary = "400: the gateway refuses the Host header."
		said.next("%q is no host name", w.question.Request.Authority)
	case route.EndBadMethod:
		said.Summary = fmt.Sprintf("%d: the gateway does not serve the method %s.", said.Status, w.question.Request.Method)
	case route.EndTooLarge:
		said.Summary = "413: the body is larger than this route allows."
		said.next("raise %s of Ingress %s", route.AnnotationMaxRequestBody, said.Route.Ingress)
	}
	return nil
}

func lastOf(steps []string) string {
	if len(steps) == 0 {
		return ""
	}
	return steps[len(steps)-1]
}

func (w *trace) concludeNoEndpoints() {
	said := w.said
	said.Summary = fmt.Sprintf("503: Service %s has no endpoint that could be used.", said.Backend.Service)
	if len(said.Endpoints) > 0 {
		said.next("see why its pods are not ready")
		return
	}
	said.next("see whether the Service's selector finds pods, and whether they run")
}

// concludeUnavailable repeats what is wrong with the backend of a route.
func (w *trace) concludeUnavailable(taken route.Route) {
	said := w.said
	said.Summary = fmt.Sprintf("503: the backend of this route cannot be used (%s).", taken.Reason)
	for _, p := range said.Problems {
		at := strings.HasPrefix(p.Field, said.Route.Field) || strings.HasPrefix(p.Field, "metadata.annotations[")
		if p.Object.Name == taken.Origin && string(p.Reason) == taken.Reason && at {
			said.next("mend %s of Ingress %s: %s", p.Field, taken.Origin, p.Message)
		}
	}
	said.next("the wider routes that match, too, are not tried: their backends never expected this path")
}

// servedPaths lists some of the paths that a host serves.
func servedPaths(host *route.Host) string {
	if len(host.Routes) == 0 {
		return "the host serves no path at all"
	}
	const most = 8
	var paths []string
	for _, r := range slices.Backward(host.Routes) {
		if len(paths) == most {
			paths = append(paths, fmt.Sprintf("and %d more", len(host.Routes)-most))
			break
		}
		paths = append(paths, fmt.Sprintf("%s %s", r.Match.Kind, r.Match.Path))
	}
	return "served are " + strings.Join(paths, ", ")
}

// concludeNoHost looks for Ingresses that name the host but do not count.
func (w *trace) concludeNoHost(ctx context.Context, trace route.Trace) error {
	classes, err := w.objects.Classes(ctx)
	if err != nil {
		return err
	}
	ingresses, err := w.objects.Ingresses(ctx)
	if err != nil {
		return err
	}
	for _, ing := range ingresses {
		gateway, ours := classes.Gateway(ing)
		if !names(ing, trace.Asked) {
			continue
		}
		name := ing.Namespace + "/" + ing.Name
		switch {
		case ours && gateway != w.gateway:
			w.said.next("Ingress %s names the host, for gateway %s: ask there with --gateway %s", name, gateway, gateway)
		case !ours:
			w.said.next("Ingress %s names the host, but %s", name, w.notOurs(ing))
		default: // else it would serve it
			w.said.next("Ingress %s names the host, but not in lower case and without a trailing dot: mend its rule", name)
		}
	}
	if _, err := netip.ParseAddr(strings.Trim(string(trace.Host), "[]")); err == nil {
		w.said.next("no rule can name an IP address: ask for a host, or add a rule without one")
		return nil
	}
	if len(w.said.Next) == 0 {
		w.said.next("no Ingress names %s: add a rule for it", strings.Join(w.said.Host.Asked[:len(w.said.Host.Asked)-1], " or "))
	}
	return nil
}

// names reports whether an Ingress has a rule for one of the hosts, other than
// any.
func names(ing *networkingv1.Ingress, hosts []route.Hostname) bool {
	return slices.ContainsFunc(ing.Spec.Rules, func(rule networkingv1.IngressRule) bool {
		host := strings.ToLower(strings.TrimSuffix(rule.Host, "."))
		return host != "" && slices.Contains(hosts, route.Hostname(host))
	})
}

// notOurs says why an Ingress is not served.
func (w *trace) notOurs(ing *networkingv1.Ingress) string {
	const annotation = "kubernetes.io/ingress.class"
	if class, named := route.ClassOf(ing); named {
		if owner := w.ownerOf(class); owner != "" {
			return fmt.Sprintf("its class %q is not one of Fairway's%s", class, owner)
		}
	}
	if class := ing.Spec.IngressClassName; class != nil {
		return fmt.Sprintf("its class %q is not one of Fairway's, or does not exist", *class)
	}
	if class, ok := ing.Annotations[annotation]; ok {
		return fmt.Sprintf("its annotation %s names %q, which is not a class of Fairway's", annotation, class)
	}
	return "it names no class, and the default class is not one of Fairway's"
}
