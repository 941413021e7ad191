package explain

import (
	"context"
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/xds/route"
)

// handshake adds what happens to the connection of an HTTPS client: which
// certificate it gets, or to which backend it is passed through. ended is true if
// the handshake fails because nothing serves the server name, or if there is no
// more to say.
func (w *trace) handshake(ctx context.Context, request Request) (ended bool, err error) {
	name, sent, ok := request.serverName()
	if request.Scheme != "https" || !ok {
		return false, nil
	}
	problems := w.said.Problems // what is wrong with the host matters when a request gets to it
	trace, err := w.connected(ctx, name, sent)
	if err != nil {
		return false, err
	}
	if w.chain = route.ChainFor(trace.Served, ""); w.chain.IsPassthrough() {
		return true, w.pass(ctx, request, trace)
	}
	w.said.Problems = problems
	if shown, err := w.present(ctx, name, sent, trace.Served); shown || err != nil {
		return false, err
	}
	w.said.host(trace)
	w.said.End = EndNoCertificate
	w.said.Summary = fmt.Sprintf("The TLS handshake fails: nobody serves %s at gateway %s, so that there is no certificate for it.", name, w.gateway)
	return true, w.concludeNoHost(ctx, trace)
}

// connected follows the server name of a connection to the host that serves it.
func (w *trace) connected(ctx context.Context, name route.Hostname, sent bool) (route.Trace, error) {
	if sent {
		return w.trace(ctx, w.gateway, w.settings, route.Request{Authority: string(name), Target: "/"})
	}
	hosts := &ingress.Reconciler{Objects: w.objects, LocalBackends: w.base.LocalBackends}
	host, _, err := hosts.Build(ctx, route.Key{Gateway: w.gateway, Host: route.AnyHost})
	return route.Trace{Served: host}, err
}

// pass ends the trace at the backend that gets the connection. Only the backend
// sees the request.
func (w *trace) pass(ctx context.Context, request Request, trace route.Trace) error {
	path, query, asked := strings.Cut(request.Target, "?")
	if asked {
		query = "?" + query
	}
	w.said.Path = &Path{Path: path, Query: query}
	w.said.host(trace)
	w.said.End = trace.End
	w.connect(request, trace)
	if len(trace.Matching) > 0 {
		if err := w.arrive(ctx, trace); err != nil {
			return err
		}
	}
	return w.conclude(ctx, trace)
}
