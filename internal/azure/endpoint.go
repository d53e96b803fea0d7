package azure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Endpoint says where an ARM endpoint is and who asks. The zero values of the
// optional fields mean Azure's public cloud.
type Endpoint struct {
	// URL is the Resource Manager's base URL without a trailing slash; empty
	// means Azure's public cloud.
	URL string
	// Authority is the token issuer's base URL; empty means URL's own embedded
	// issuer, or Azure's where URL is empty too.
	Authority string
	// Audience is what tokens are asked for; empty means URL with a slash.
	Audience string
	// TenantID is the directory; an embedded issuer's is always "adfs" on the wire.
	TenantID string
	// ClientID and ClientSecret name a service principal. Both empty means
	// azidentity's default chain (environment, managed identity, az login).
	ClientID, ClientSecret string
	// CAFile is a PEM file with the authority that signed the endpoint's
	// certificate; empty means the system's.
	CAFile string
}

// embeddedTenant makes MSAL skip Microsoft's own discovery host: any other
// authority path is looked up there first.
const embeddedTenant = "adfs"

// Options returns what any client of azure-sdk-for-go needs to talk to this
// endpoint.
func (e Endpoint) Options() (*arm.ClientOptions, error) {
	transport, err := e.transport()
	if err != nil {
		return nil, err
	}
	options := &arm.ClientOptions{ClientOptions: policy.ClientOptions{
		Cloud:     e.cloud(),
		Transport: transport,
		Retry:     policy.RetryOptions{MaxRetries: 3, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 10 * time.Second},
		Telemetry: policy.TelemetryOptions{ApplicationID: "hallmark"},
	}}
	// Registering a provider is a subscription owner's decision, not a client's.
	options.DisableRPRegistration = true
	return options, nil
}

// Credential returns the token source of this endpoint.
func (e Endpoint) Credential() (azcore.TokenCredential, error) {
	options, err := e.Options()
	if err != nil {
		return nil, err
	}
	if e.ClientID == "" {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: options.ClientOptions, TenantID: e.TenantID,
		})
	}
	tenant := e.TenantID
	if e.embedded() {
		tenant = embeddedTenant
	}
	return azidentity.NewClientSecretCredential(tenant, e.ClientID, e.ClientSecret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            options.ClientOptions,
		DisableInstanceDiscovery: e.embedded(),
	})
}

func (e Endpoint) embedded() bool { return e.URL != "" && e.Authority == "" }

func (e Endpoint) cloud() cloud.Configuration {
	if e.URL == "" {
		return cloud.AzurePublic
	}
	url := strings.TrimSuffix(e.URL, "/")
	authority, audience := e.Authority, e.Audience
	if authority == "" {
		authority = url
	}
	if audience == "" {
		audience = url + "/"
	}
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: authority,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: url, Audience: audience},
		},
	}
}

func (e Endpoint) transport() (policy.Transporter, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		pool, err := readPool(e.CAFile)
		if err != nil {
			return nil, err
		}
		base.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: base}, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the endpoint's certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %w", file, errNoCertificate)
	}
	return pool, nil
}

var errNoCertificate = errors.New("holds no PEM certificate; pass the endpoint's CA file")
