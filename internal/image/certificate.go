package image

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// certificates reads PEM text that may hold CA certificates and nothing else:
// a private key that slipped into the file must not reach an image.
func certificates(data []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	rest := bytes.TrimSpace(data)
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("this is not PEM text: it begins with -----BEGIN CERTIFICATE-----")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a %s in this; only certificates belong here", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate cannot be read: %w", err)
		}
		if !certificate.IsCA {
			return nil, fmt.Errorf("the certificate of %q is not a CA's: it cannot be a trusted root", certificate.Subject)
		}
		found = append(found, certificate)
		rest = bytes.TrimSpace(after)
	}
	if len(found) == 0 {
		return nil, errors.New("there is no certificate in this")
	}
	return found, nil
}

// certificateStep installs roots where Debian's and Red Hat's tools look for
// them. If the tool is not there yet, the package that brings it will pick the
// files up when a later step installs it; the standard test proves it.
func certificateStep(cas []CACertificate, files map[string][]byte) (Customizer, error) {
	var script strings.Builder
	script.WriteString("if command -v update-ca-trust >/dev/null; then dir=/etc/pki/ca-trust/source/anchors; else dir=/usr/local/share/ca-certificates; fi\nmkdir -p \"$dir\"\n")
	for _, ca := range cas {
		found, err := certificates(ca.bytes(files))
		if err != nil {
			return Customizer{}, fmt.Errorf("CA certificate %s: %w", ca.Name, err)
		}
		for i, certificate := range found {
			name := ca.Name
			if i > 0 {
				name += "-" + itoa(i+1)
			}
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
			fmt.Fprintf(&script, "cat > \"$dir/%s.crt\" <<'END_OF_CERTIFICATE'\n%sEND_OF_CERTIFICATE\nchmod 0644 \"$dir/%s.crt\"\n", name, text, name)
		}
	}
	script.WriteString("if command -v update-ca-trust >/dev/null; then update-ca-trust extract\nelif command -v update-ca-certificates >/dev/null; then update-ca-certificates\nfi\n")
	step := Customizer{Type: "Shell", Name: "install CA certificates", Inline: Lines{script.String()}, Network: "none"}
	step.setDefaults()
	return step, nil
}

func (ca CACertificate) bytes(files map[string][]byte) []byte {
	if ca.PEM != "" {
		return []byte(ca.PEM)
	}
	return files[ca.File]
}

// certificateBodies are the certificates as they appear in a bundle, without
// line ends.
func certificateBodies(pemText string) []string {
	found, err := certificates([]byte(pemText))
	if err != nil {
		return nil
	}
	var bodies []string
	for _, certificate := range found {
		bodies = append(bodies, base64.StdEncoding.EncodeToString(certificate.Raw))
	}
	return bodies
}
