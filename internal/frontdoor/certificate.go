package frontdoor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files of the certificate folder. CACertificate is the one to hand to clients.
const (
	CACertificate = "ca.crt"
	caKey         = "ca.key"
	serverCert    = "server.crt"
	serverKey     = "server.key"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour // the longest that clients accept
	renewAt    = 30 * 24 * time.Hour
)

// Certificates reads the server's certificate from dir, and makes a local
// authority and a certificate for 127.0.0.1, localhost and the hosts if they are not
// there, do not fit the hosts, or end soon. Keys are 0600.
func Certificates(dir string, hosts []string, now time.Time) (tls.Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("opening the certificate folder: %w", err)
	}
	ca, key, err := authority(dir, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("opening the certificate authority: %w", err)
	}
	hosts = append([]string{"127.0.0.1", "localhost"}, hosts...)
	if pair, err := tls.LoadX509KeyPair(filepath.Join(dir, serverCert), filepath.Join(dir, serverKey)); err == nil && fits(pair.Leaf, ca, hosts, now) {
		return pair, nil
	}
	if err := newServer(dir, ca, key, hosts, now); err != nil {
		return tls.Certificate{}, fmt.Errorf("making the server's certificate: %w", err)
	}
	return tls.LoadX509KeyPair(filepath.Join(dir, serverCert), filepath.Join(dir, serverKey))
}

func fits(leaf, ca *x509.Certificate, hosts []string, now time.Time) bool {
	if leaf == nil || leaf.CheckSignatureFrom(ca) != nil || now.Add(renewAt).After(leaf.NotAfter) {
		return false
	}
	for _, h := range hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

func authority(dir string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	certPath, keyPath := filepath.Join(dir, CACertificate), filepath.Join(dir, caKey)
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err == nil {
		key, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return nil, nil, fmt.Errorf("%s holds no signing key", keyPath)
		}
		return pair.Leaf, key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w (restore %s and %s, or remove both to make new ones)", err, certPath, keyPath)
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Hallmark local authority", Organization: []string{"Hallmark"}}, NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return create(t, nil, nil, certPath, keyPath, now)
}

func newServer(dir string, ca *x509.Certificate, key crypto.Signer, hosts []string, now time.Time) error {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, NotAfter: now.Add(serverLife), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	_, _, err := create(t, ca, key, filepath.Join(dir, serverCert), filepath.Join(dir, serverKey), now)
	return err
}

// create signs t (by itself if there is no parent) and writes the key, then the
// certificate: a crash in between leaves no certificate, and the next start
// begins anew.
func create(t, parent *x509.Certificate, signer crypto.Signer, certPath, keyPath string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, signer = t, key
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	t.NotBefore = now.Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Remove(certPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	if err := writePEM(keyPath, "PRIVATE KEY", pkcs8, 0o600); err != nil {
		return nil, nil, err
	}
	if err := writePEM(certPath, "CERTIFICATE", der, 0o644); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	err = errors.Join(f.Chmod(mode), pem.Encode(f, &pem.Block{Type: kind, Bytes: der}))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
