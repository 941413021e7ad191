package cluster

import (
	"crypto/x509/pkix"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// User is the configuration of a client that the API server authenticates as that
// user in those groups (and system:authenticated). RBAC gives it no rights until
// a test binds a role. It has no client-side rate limit.
func (c *Cluster) User(name string, groups ...string) *rest.Config {
	id, err := c.authority.Issue(pkix.Name{CommonName: name, Organization: groups}, nil)
	if err != nil {
		panic(err) // a new key can always sign
	}
	return &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", c.port.number),
		TLSClientConfig: rest.TLSClientConfig{
			CAData:   c.authority.PEM(),
			CertData: id.Certificate,
			KeyData:  id.Key,
		},
		QPS: -1,
	}
}

// ServiceAccount is the configuration of a pod with that ServiceAccount. Only
// role bindings must exist, not the ServiceAccount itself.
func (c *Cluster) ServiceAccount(namespace, name string) *rest.Config {
	return c.User("system:serviceaccount:"+namespace+":"+name,
		"system:serviceaccounts", "system:serviceaccounts:"+namespace)
}

// WriteKubeconfig writes a configuration from User or ServiceAccount to a file,
// for programs that take a path. It returns the path. Down removes the file.
func (c *Cluster) WriteKubeconfig(config *rest.Config) (string, error) {
	file, err := os.CreateTemp(c.dir, "kubeconfig-")
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	const name = "test"
	content := clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   config.Host,
			CertificateAuthorityData: config.CAData,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
	if err := clientcmd.WriteToFile(content, file.Name()); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return file.Name(), nil
}
