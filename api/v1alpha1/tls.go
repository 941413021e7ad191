package v1alpha1

// TLS configures TLS between clients and a gateway.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minVersion) || !has(self.maxVersion) || self.minVersion <= self.maxVersion",message="minVersion must not be above maxVersion"
// +kubebuilder:validation:XValidation:rule="!has(self.ciphers) || !has(self.minVersion) || self.minVersion != 'TLSv1.3'",message="ciphers are those of TLSv1.2, which minVersion excludes"
// +kubebuilder:validation:XValidation:rule="!has(self.http3) || !self.http3 || !has(self.maxVersion) || self.maxVersion != 'TLSv1.2'",message="HTTP/3 needs TLSv1.3, which maxVersion excludes"
type TLS struct {
	// minVersion is the oldest version that the gateway accepts. Default TLSv1.2.
	//
	// +optional
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// maxVersion is the newest version that the gateway accepts. Default TLSv1.3.
	//
	// +optional
	MaxVersion *TLSVersion `json:"maxVersion,omitempty"`

	// ciphers are the cipher suites for TLSv1.2, in the gateway's order of
	// preference. Those of TLSv1.3 are all secure and cannot be chosen. Default:
	// all six. A certificate with an ECDSA key needs an ECDHE-ECDSA cipher, one
	// with an RSA key an ECDHE-RSA cipher.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	Ciphers []TLSCipher `json:"ciphers,omitempty"`

	// curves are the key exchanges that the gateway accepts, in its order of
	// preference. Default X25519MLKEM768, X25519, P-256, P-384.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Curves []TLSCurve `json:"curves,omitempty"`

	// alpn are the protocols that the gateway offers, in its order of preference.
	// Default h2, http/1.1. A client without ALPN gets HTTP/1.1.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	ALPN []TLSProtocol `json:"alpn,omitempty"`

	// hsts makes browsers come back only over HTTPS: answers over HTTPS have a
	// Strict-Transport-Security header, for hosts that Ingresses name in
	// spec.tls. The annotation fairway.dev/hsts of an Ingress overrides this. By
	// default there is no such header.
	//
	// +optional
	HSTS *HSTS `json:"hsts,omitempty"`

	// http3 also serves HTTP/3, over QUIC, on the UDP port with the number of
	// httpsPort. The gateway announces it to clients in Alt-Svc. Default false.
	//
	// +optional
	HTTP3 *bool `json:"http3,omitempty"`
}

// TLSVersion is a version of TLS.
//
// +kubebuilder:validation:Enum=TLSv1.2;TLSv1.3
type TLSVersion string

// TLSCipher is a cipher suite of TLS 1.2 with forward secrecy and authenticated
// encryption, by its name in OpenSSL.
//
// +kubebuilder:validation:Enum=ECDHE-ECDSA-AES128-GCM-SHA256;ECDHE-RSA-AES128-GCM-SHA256;ECDHE-ECDSA-AES256-GCM-SHA384;ECDHE-RSA-AES256-GCM-SHA384;ECDHE-ECDSA-CHACHA20-POLY1305;ECDHE-RSA-CHACHA20-POLY1305
type TLSCipher string

// TLSCurve is a key exchange of TLS. X25519MLKEM768 also withstands quantum
// computers, and needs TLS 1.3.
//
// +kubebuilder:validation:Enum=X25519MLKEM768;X25519;P-256;P-384;P-521
type TLSCurve string

// TLSProtocol is a protocol by its name in ALPN.
//
// +kubebuilder:validation:Enum=h2;http/1.1
type TLSProtocol string

// HSTS is the content of Strict-Transport-Security (RFC 6797).
//
// +kubebuilder:validation:XValidation:rule="!has(self.preload) || !self.preload || (has(self.includeSubDomains) && self.includeSubDomains && self.maxAge >= 31536000)",message="lists of sites that are preloaded want includeSubDomains and a maxAge of at least 31536000"
type HSTS struct {
	// maxAge is how many seconds browsers remember it; 0 makes them forget it.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	MaxAge int64 `json:"maxAge"`

	// includeSubDomains extends it to all names below the host, whoever serves
	// them.
	//
	// +optional
	IncludeSubDomains bool `json:"includeSubDomains,omitempty"`

	// preload agrees to inclusion in browsers' built-in lists. That is hard to
	// undo.
	//
	// +optional
	Preload bool `json:"preload,omitempty"`
}
