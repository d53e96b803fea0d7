package main

import (
	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/instance"
)

// signer signs with whichever key the key folder says signs now, so that a
// rotation takes effect at once.
type signer struct{ keys *attest.Keys }

func openSigner(dir instance.Dir) (signer, error) {
	keys, err := attest.OpenKeys(dir.SigningKeys())
	return signer{keys}, err
}

// SignTattoo makes the detached signature that stands beside a tattoo.
func (s signer) SignTattoo(content []byte) ([]byte, error) {
	key, err := s.keys.Signer()
	if err != nil {
		return nil, err
	}
	return attest.Sign(key, content), nil
}

// SignStatement wraps a statement into a signed envelope.
func (s signer) SignStatement(statement attest.Statement) (attest.Envelope, error) {
	key, err := s.keys.Signer()
	if err != nil {
		return attest.Envelope{}, err
	}
	return attest.SignStatement(key, statement)
}
