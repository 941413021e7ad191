package explain

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairwaynet/fairway/xds/route"
)

// handshake ends the walk if the TLS handshake fails because nothing at all is
// known of the server name. Which certificate is served, and whether it is a good
// one, is not looked at: that is in Secrets.
func (w *walk) handshake(ctx context.Context, request Request) (failed bool, err error) {
	name, sent := request.serverName()
	if !sent || request.Scheme != "https" {
		return false, nil
	}
	problems := w.said.Problems // what is wrong with the host matters when a request gets to it
	trace, err := w.trace(ctx, w.gateway, w.settings, route.Request{Authority: string(name), Target: "/"})
	w.said.Problems = problems
	if err != nil || trace.End != route.EndNoHost {
		return false, err
	}
	if certified, err := w.certified(ctx, name); certified || err != nil {
		return false, err
	}
	w.said.host(trace)
	w.said.End = EndNoCertificate
	w.said.Summary = fmt.Sprintf("The TLS handshake fails: nobody serves %s at gateway %s, so that there is no certificate for it.", name, w.gateway)
	return true, w.concludeNoHost(ctx, trace)
}

// certified says whether an Ingress of the gateway has a Secret for the server
// name, or for the wildcard that covers it.
func (w *walk) certified(ctx context.Context, name route.Hostname) (bool, error) {
	classes, err := w.objects.Classes(ctx)
	if err != nil {
		return false, err
	}
	names := []route.Hostname{name}
	if wildcard, covered := name.Wildcard(); covered {
		names = append(names, wildcard)
	}
	for _, name := range names {
		ingresses, err := w.objects.IngressesOfTLS(ctx, name)
		if err != nil {
			return false, err
		}
		ours := slices.DeleteFunc(slices.Clone(ingresses), func(ing *networkingv1.Ingress) bool {
			gateway, ours := classes.Gateway(ing)
			return !ours || gateway != w.gateway
		})
		if uses, _, _ := route.SecretsFor(name, ours); len(uses) > 0 {
			return true, nil
		}
	}
	return false, nil
}
