package lab

import (
	"crypto/x509/pkix"
	"fmt"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fairwaynet/fairway/test/authority"
)

// lifetime of the certificates: longer than any lab.
const lifetime = 30 * 24 * time.Hour

// kubeconfig makes a kubeconfig for a user of the API server at that URL.
func kubeconfig(by *authority.Authority, server, user string, groups ...string) ([]byte, error) {
	id, err := by.Issue(pkix.Name{CommonName: user, Organization: groups}, nil)
	if err != nil {
		return nil, err
	}
	const name = "lab"
	encoded, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server: server, CertificateAuthorityData: by.PEM(),
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: id.Certificate, ClientKeyData: id.Key,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig of %s: %w", user, err)
	}
	return encoded, nil
}
