"""Certificates: who issues the certificate of a published lab, where it is, and who trusts it.

- location: the lab's names, and where the certificate is on the host, whoever issued it.
- own_ca: issue it by the lab's own CA.
- certbot: get it from Let's Encrypt or another ACME server.
- acme: which ACME server to ask, and why it refused, in one line.
- renewal: pass what certbot renews on to JupyterLab or Apache.
- authority: make a CA, and sign with it, on the laptop.
- constraints: the names that a CA may vouch for.
- vault: keep the CA on the laptop.
- trust: make the browsers of the laptop trust the CA.
- stores: the places where those browsers look.
- certificate: read what a certificate says.
"""
