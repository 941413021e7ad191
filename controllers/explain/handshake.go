package explain

import (
	"context"
	"fmt"

	"github.com/fairwaynet/fairway/xds/route"
)

// handshake says which certificate a client of HTTPS is shown. It ends the walk
// if the handshake fails because nothing at all is known of the server name.
func (w *walk) handshake(ctx context.Context, request Request) (failed bool, err error) {
	if request.Scheme != "https" {
		return false, nil
	}
	if err := w.present(ctx, request); err != nil {
		return false, err
	}
	name, sent := request.serverName()
	if !sent || w.said.Certificate.Name != defaultName {
		return false, nil
	}
	problems := w.said.Problems // what is wrong with the host matters when a request gets to it
	trace, err := w.trace(ctx, w.gateway, w.settings, route.Request{Authority: string(name), Target: "/"})
	w.said.Problems = problems
	if err != nil || trace.End != route.EndNoHost {
		return false, err
	}
	w.said.host(trace)
	w.said.Certificate = nil
	w.said.End = EndNoCertificate
	w.said.Summary = fmt.Sprintf("The TLS handshake fails: nobody serves %s at gateway %s, so that there is no certificate for it.", name, w.gateway)
	return true, w.concludeNoHost(ctx, trace)
}
