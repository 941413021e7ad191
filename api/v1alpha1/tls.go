package v1alpha1

// TLS is how a gateway speaks TLS with clients.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minVersion) || !has(self.maxVersion) || self.minVersion <= self.maxVersion",message="minVersion must not be above maxVersion"
// +kubebuilder:validation:XValidation:rule="!has(self.ciphers) || !has(self.minVersion) || self.minVersion != 'TLSv1.3'",message="ciphers are those of TLSv1.2, which minVersion excludes"
// +kubebuilder:validation:XValidation:rule="!has(self.http3) || !self.http3 || !has(self.maxVersion) || self.maxVersion != 'TLSv1.2'",message="HTTP/3 needs TLSv1.3, which maxVersion excludes"
type TLS struct {
	// minVersion is the oldest version that is accepted. Default TLSv1.2.
	//
	// +optional
	MinVersion *TLSVersion `json:"minVersion,omitempty"`

	// maxVersion is the newest version that is accepted. Default TLSv1.3.
	//
	// +optional
	MaxVersion *TLSVersion `json:"maxVersion,omitempty"`

	// ciphers are what is accepted with TLSv1.2, in the gateway's order of
	// preference; those of TLSv1.3 are all good, and cannot be chosen. Default: all
	// six. A certificate with an ECDSA key needs one of ECDHE-ECDSA, one with an
	// RSA key one of ECDHE-RSA.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	Ciphers []TLSCipher `json:"ciphers,omitempty"`

	// curves are the key exchanges that are accepted, in the gateway's order of
	// preference. Default X25519MLKEM768, X25519, P-256, P-384.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Curves []TLSCurve `json:"curves,omitempty"`

	// alpn are the protocols that are offered, in the gateway's order of
	// preference. Default h2, http/1.1. A client that asks for none gets HTTP/1.1.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	ALPN []TLSProtocol `json:"alpn,omitempty"`

	// hsts has browsers come back over HTTPS only: answers over HTTPS have a
	// header Strict-Transport-Security, for hosts that Ingresses name in spec.tls.
	// The annotation fairway.dev/hsts of an Ingress wins. Without it there is none.
	//
	// +optional
	HSTS *HSTS `json:"hsts,omitempty"`

	// http3 also serves HTTP/3, over QUIC, on the UDP port of the number of
	// httpsPort, and tells clients so (Alt-Svc). Default false.
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

// HSTS is what Strict-Transport-Security says (RFC 6797).
//
// +kubebuilder:validation:XValidation:rule="!has(self.preload) || !self.preload || (has(self.includeSubDomains) && self.includeSubDomains && self.maxAge >= 31536000)",message="lists of sites that are preloaded want includeSubDomains and a maxAge of at least 31536000"
type HSTS struct {
	// maxAge is for how many seconds browsers keep to it; 0 has them forget it.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	MaxAge int64 `json:"maxAge"`

	// includeSubDomains also means all names below the host, whoever serves them.
	//
	// +optional
	IncludeSubDomains bool `json:"includeSubDomains,omitempty"`

	// preload agrees to being put on lists that browsers come with. It can hardly
	// be taken back.
	//
	// +optional
	Preload bool `json:"preload,omitempty"`
}
