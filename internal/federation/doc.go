// Package federation accepts the tokens of OpenID Connect issuers elsewhere (Entra
// ID, Keycloak, Dex): it finds the issuer that a token names among those that are
// configured, checks the token against that issuer's keys, and makes a principal of
// its claims.
//
// Keys are read from configured issuers only, over https, and at a bounded rate,
// whatever tokens are sent. It decides nothing about rights; that an object id of an
// issuer cannot stand for one of our own directory is package access's business.
// cmd imports it.
package federation
