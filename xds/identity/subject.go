package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"

	"github.com/fairwaynet/fairway/api/installation"
	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// scheme and gatewayHost begin the URI of a gateway: fairway://gateway/blue
	// is that of the gateway blue, fairway://gateway/shop/blue of shop/blue.
	scheme      = "fairway"
	gatewayHost = "gateway"

	// ServerName is the DNS name that every controller's certificate carries, of every
	// installation: their authorities differ.
	ServerName = "fairway-controller"
)

// Subject is the process that a certificate is for.
type Subject struct {
	dns []string // of the controllers
	uri string   // of a gateway
}

// Controllers is the subject of an installation's controllers in a namespace, by
// ServerName and the DNS names of their Service.
func Controllers(of installation.Name, namespace string) Subject {
	names := []string{ServerName}
	service := of.Controller()
	if service != ServerName {
		names = append(names, service)
	}
	return Subject{dns: append(names, service+"."+namespace, service+"."+namespace+".svc")}
}

// Gateway is the subject of every Envoy of a gateway.
func Gateway(name route.Gateway) Subject {
	u := url.URL{Scheme: scheme, Host: gatewayHost, Path: "/" + string(name)}
	return Subject{uri: u.String()}
}

// usage is the extended key usage of the subject's certificate: a gateway cannot pass
// for a controller.
func (s Subject) usage() x509.ExtKeyUsage {
	if s.uri != "" {
		return x509.ExtKeyUsageClientAuth
	}
	return x509.ExtKeyUsageServerAuth
}

// ErrNoGateway is of a certificate that is not a gateway's.
var ErrNoGateway = errors.New("the certificate names no gateway (it needs one URI, " + scheme + "://" + gatewayHost + "/NAME)")

// GatewayOf is the gateway that a verified certificate is for.
func GatewayOf(certificate *x509.Certificate) (route.Gateway, error) {
	if len(certificate.URIs) != 1 {
		return "", ErrNoGateway
	}
	uri := certificate.URIs[0]
	name := strings.TrimPrefix(uri.Path, "/")
	if uri.Scheme != scheme || uri.Host != gatewayHost || uri.User != nil || name == "" || uri.RawQuery != "" || uri.Fragment != "" {
		return "", ErrNoGateway
	}
	return route.Gateway(name), nil
}

// AuthoritySecret names the Secret of an installation's authority: "fairway-ca".
func AuthoritySecret(of installation.Name) string { return of.Object("ca") }

// ControllerSecret names the Secret of the certificate of an installation's
// controllers: "fairway-controller-tls".
func ControllerSecret(of installation.Name) string { return of.Object("controller-tls") }

// maxName is what Kubernetes allows for a name.
const maxName = 253

// SecretOf is the name of the Secret of an installation's gateway:
// "fairway-gateway-blue", "fairway-gateway-shop.blue" for shop/blue. A name for which
// that would be too long, or be another gateway's, has its hash there instead.
func SecretOf(of installation.Name, name route.Gateway) string {
	gatewaySecret := of.Object("gateway")
	namespace, rest, namespaced := strings.Cut(string(name), "/")
	plain := gatewaySecret + "-" + namespace
	if namespaced {
		plain += "." + rest
	}
	if strings.Contains(namespace, ".") || len(plain) > maxName {
		sum := sha256.Sum256([]byte(name))
		return gatewaySecret + "." + hex.EncodeToString(sum[:16])
	}
	return plain
}
