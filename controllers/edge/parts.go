package edge

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairwaynet/fairway/controllers/assembly"
	"github.com/fairwaynet/fairway/controllers/certificates/servercert"
	"github.com/fairwaynet/fairway/controllers/edge/backendca"
	"github.com/fairwaynet/fairway/controllers/edge/clientca"
	"github.com/fairwaynet/fairway/controllers/edge/endpoints"
	"github.com/fairwaynet/fairway/controllers/edge/gatewayconfig"
	"github.com/fairwaynet/fairway/controllers/edge/ingress"
	"github.com/fairwaynet/fairway/controllers/objects/apireader"
	"github.com/fairwaynet/fairway/controllers/objects/secretcache"
	"github.com/fairwaynet/fairway/xds/route"
)

// parts are the kinds of keys that make up the picture. A kind is a field here, a
// function that makes it, and a place in inOrder.
type parts struct {
	gateways     *assembly.Kind[route.Gateway, route.Settings]
	backends     *assembly.Kind[route.ServicePort, route.Backend]
	certificates *assembly.Kind[servercert.Key, route.Certificate]
	backendCAs   *assembly.Kind[route.Authority, []byte]
	clientCAs    *assembly.Kind[clientca.Key, []byte]
	hosts        *assembly.Kind[route.Key, route.Host]

	custom  *gatewayconfig.Reconciler // whose resources may come later
	secrets *secretcache.Cache        // shared by the parts that read Secrets
}

// inOrder returns the parts in the order in which they are built and published: a
// part comes before the parts that refer to it.
func (p *parts) inOrder() []assembly.Part {
	return []assembly.Part{p.gateways, p.backends, p.certificates, p.backendCAs, p.clientCAs, p.hosts}
}

// parts makes the parts, which publish to publisher.
func (c *Controllers) parts(publisher Publisher) *parts {
	p := &parts{secrets: c.secretCache()}
	certificates := servercert.New(c.Objects(), p.secrets, publisher, c.Reporter, c.Certificates)
	p.certificates = &assembly.Kind[servercert.Key, route.Certificate]{
		Name: "certificate", Builder: certificates, Reconciler: certificates, Sources: certificates.Sources(c.Cache),
		Publish: func(key servercert.Key, served *route.Certificate) {
			publisher.PublishCertificate(route.Key(key), served)
		},
	}
	p.gateways = c.gateways(p, listening{publisher, certificates})
	p.backends = c.backends(publisher)
	p.backendCAs = c.backendCAs(p.secrets, publisher)
	p.clientCAs = c.clientCAs(p.secrets, publisher)
	p.hosts = c.hosts(publisher)
	return p
}

func (c *Controllers) gateways(p *parts, publisher listening) *assembly.Kind[route.Gateway, route.Settings] {
	p.custom = &gatewayconfig.Reconciler{
		Objects: c.Objects(), Base: c.Base, Published: c.Published, Adapt: c.Adapt,
		Publisher: publisher, Reporter: c.Reporter, Reconciled: c.Conditions.Touch,
	}
	sources := p.custom.Sources(c.Cache)
	if c.custom {
		sources = append(sources, p.custom.CustomSources(c.Cache, false)...)
	}
	return &assembly.Kind[route.Gateway, route.Settings]{
		Name: "gateway", Builder: p.custom, Reconciler: p.custom, Sources: sources,
		Publish: func(gateway route.Gateway, settings *route.Settings) { publisher.PublishSettings(gateway, *settings) },
		Built: func(built map[route.Gateway]*route.Settings) {
			for gateway, settings := range built {
				publisher.listens(gateway, *settings)
			}
		},
	}
}

func (c *Controllers) backends(publisher Publisher) *assembly.Kind[route.ServicePort, route.Backend] {
	made := endpoints.New(c.Objects(), c.apiReader(), publisher, c.Reporter)
	made.LocalBackends = c.Base.LocalBackends || c.LocalEndpoints
	return &assembly.Kind[route.ServicePort, route.Backend]{
		Name: "endpoints", Builder: made, Reconciler: made, Sources: made.Sources(c.Cache), Publish: made.Publish,
	}
}

func (c *Controllers) backendCAs(secrets *secretcache.Cache, publisher Publisher) *assembly.Kind[route.Authority, []byte] {
	made := backendca.New(c.Objects(), secrets, publisher, c.Reporter, c.SystemRoots)
	return &assembly.Kind[route.Authority, []byte]{
		Name: "authority", Builder: made, Reconciler: made, Sources: made.Sources(c.Cache),
		Publish: func(key route.Authority, certificates *[]byte) { publisher.PublishAuthority(key, *certificates) },
	}
}

func (c *Controllers) clientCAs(secrets *secretcache.Cache, publisher Publisher) *assembly.Kind[clientca.Key, []byte] {
	made := clientca.New(c.Objects(), secrets, publisher, c.Reporter, c.Certificates.Now)
	return &assembly.Kind[clientca.Key, []byte]{
		Name: "clientca", Builder: made, Reconciler: made, Sources: made.Sources(c.Cache),
		Publish: func(key clientca.Key, authorities *[]byte) {
			publisher.PublishClientCA(types.NamespacedName(key), *authorities)
		},
	}
}

func (c *Controllers) hosts(publisher Publisher) *assembly.Kind[route.Key, route.Host] {
	made := &ingress.Reconciler{
		Objects: c.Objects(), Live: c.apiReader(), Publisher: publisher, Reporter: c.Reporter, Tracker: c.Tracker,
		Challenges: c.Challenges, LocalBackends: c.Base.LocalBackends,
	}
	var runs reconcile.TypedReconciler[route.Key] = made
	if c.Delivery != nil {
		runs = c.Delivery.timed(made, publisher)
	}
	return &assembly.Kind[route.Key, route.Host]{
		Name: "ingress", Builder: made, Reconciler: c.tracked(runs), Sources: made.Sources(c.Cache), Publish: made.Publish,
		IsLarge: made.IsLarge,
	}
}

// secretCache makes the cache of Secrets that all its readers share.
func (c *Controllers) secretCache() *secretcache.Cache {
	made := secretcache.New(c.Cache, c.Live, c.now)
	if c.PartialSecrets {
		made.Partial(func(types.NamespacedName) bool { return true })
	}
	return made
}

// apiReader makes a reader of the API server for one controller. It keeps the
// controller's workers from all waiting for that server. It is nil where there is
// no API server.
func (c *Controllers) apiReader() *apireader.Reader {
	if c.Live == nil {
		return nil
	}
	return apireader.New(c.Live, c.now)
}

// listening tells the certificate reconciler which gateways listen for TLS.
type listening struct {
	gatewayconfig.Publisher
	certificates *servercert.Reconciler
}

func (l listening) listens(gateway route.Gateway, settings route.Settings) {
	l.certificates.Listens(gateway, settings.HTTPSPort != 0)
}

// PublishSettings implements gatewayconfig.Publisher.
func (l listening) PublishSettings(gateway route.Gateway, settings route.Settings) {
	l.listens(gateway, settings)
	l.Publisher.PublishSettings(gateway, settings)
}

// WithdrawGateway implements gatewayconfig.Publisher.
func (l listening) WithdrawGateway(gateway route.Gateway) {
	l.certificates.Listens(gateway, true) // it is no longer known
	l.Publisher.WithdrawGateway(gateway)
}
