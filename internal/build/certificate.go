package build

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// certificate is one CA certificate in the form that an image gets.
type certificate struct {
	name string // stable: from the subject and the digest
	text []byte
}

// parseCertificates reads PEM and takes nothing but CA certificates: a private
// key in the bundle must not end up in an image.
func parseCertificates(text []byte) ([]certificate, error) {
	var out []certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if strings.TrimSpace(string(rest)) != "" {
				return nil, errors.New("text that is not PEM follows certificate " + fmt.Sprint(len(out)))
			}
			break
		}
		c, err := oneCertificate(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return out, nil
}

func oneCertificate(block *pem.Block) (certificate, error) {
	if block.Type != "CERTIFICATE" {
		return certificate{}, fmt.Errorf("is a %s, not a CERTIFICATE", block.Type)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return certificate{}, err
	}
	if !c.IsCA {
		return certificate{}, fmt.Errorf("%q is not a CA certificate", c.Subject)
	}
	digest := sha256.Sum256(c.Raw)
	return certificate{
		name: fileName(c.Subject.CommonName) + "-" + hex.EncodeToString(digest[:4]),
		text: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
	}, nil
}

// fileName keeps of a text what is harmless in a file name.
func fileName(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
	return strings.Trim(clean[:min(len(clean), 48)], "-")
}

// trustStore is where a distribution family keeps added CA certificates.
type trustStore struct{ tool, dir, command string }

var trustStores = []trustStore{
	{"/usr/sbin/update-ca-certificates", "/usr/local/share/ca-certificates", "update-ca-certificates"},
	{"/usr/bin/update-ca-trust", "/etc/pki/ca-trust/source/anchors", "update-ca-trust"},
}

// addCertificates places the certificates and answers the command that makes the
// image trust them.
func addCertificates(t tree, text []byte) (string, error) {
	certificates, err := parseCertificates(text)
	if err != nil {
		return "", err
	}
	for _, store := range trustStores {
		if !t.exists(store.tool) {
			continue
		}
		for _, c := range certificates {
			if err := t.write(store.dir+"/hallmark-"+c.name+".crt", c.text, 0o644, 0, 0); err != nil {
				return "", err
			}
		}
		return store.command, nil
	}
	return "", errNoTrustStore
}

var errNoTrustStore = errors.New("the image has neither update-ca-certificates nor update-ca-trust; install the package ca-certificates in an earlier step")
