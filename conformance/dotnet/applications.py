"""The cases of an application that has a secret or a certificate: it asks the token service itself.

The administrator of the development tenant has a secret. The machine's node key is registered with the token service
as a certificate, so whoever holds its file proves the machine as an application would prove itself.

Every credential has `DisableInstanceDiscovery`, the clients' own option for an authority that Microsoft does not know:
without it they ask login.microsoftonline.com whether the host of AZURE_AUTHORITY_HOST is one, and send nothing to it
until they are told. What the authority itself must prove, they check all the same.
"""

import os
import time

from Azure.Identity import (
    AuthenticationFailedException,
    ClientCertificateCredential,
    ClientCertificateCredentialOptions,
    ClientSecretCredential,
    ClientSecretCredentialOptions,
    DefaultAzureCredential,
    DefaultAzureCredentialOptions,
    EnvironmentCredential,
    EnvironmentCredentialOptions,
)
from expected import NOBODY, VAULT_RESOURCE, Mismatch, check, check_refusal, claims_of, equal
from System import Environment
from System.Security.Cryptography.X509Certificates import X509CertificateLoader
from vault import deleted, refusals, token_of, whole_life

PASSWORD = "of the file"


def secret(dev, dialect):
    _main_job(_by_secret(dev), dev, dialect, _administrator())


def environment_secret(dev, dialect):
    # What the dialect's variables hold is the administrator's.
    _main_job(EnvironmentCredential(_private(EnvironmentCredentialOptions())), dev, dialect, _administrator())


def default_secret(dev, dialect):
    _main_job(DefaultAzureCredential(_private(DefaultAzureCredentialOptions())), dev, dialect, _administrator())


def pem(dev, dialect):
    _main_job(_by_certificate(dev, _file("node.pem")), dev, dialect, dev.client_id)


def pfx(dev, dialect):
    _main_job(_by_certificate(dev, _file("node.pfx")), dev, dialect, dev.client_id)


def locked_pfx(dev, dialect):
    certificate = X509CertificateLoader.LoadPkcs12FromFile(_file("locked.pfx"), PASSWORD)
    _main_job(_by_certificate(dev, certificate), dev, dialect, dev.client_id)


def environment_pem(dev, dialect):
    _environment(dev, "node.pem", None)
    _main_job(EnvironmentCredential(_private(EnvironmentCredentialOptions())), dev, dialect, dev.client_id)


def environment_pfx(dev, dialect):
    _environment(dev, "locked.pfx", PASSWORD)
    _main_job(EnvironmentCredential(_private(EnvironmentCredentialOptions())), dev, dialect, dev.client_id)


def wrong_secret(dev, dialect):
    right = _administrator_secret()
    for wrong in ("wrong", right[:-1], right + "x"):
        _refused("AADSTS7000215", _by_secret(dev, secret=wrong))
    check(token_of(_by_secret(dev)).token, "no token for the right secret")


def foreign_certificate(dev, dialect):
    for name in ("foreign.pem", "foreign.pfx"):
        _refused("AADSTS700027", _by_certificate(dev, _file(name)))


def unknown_application(dev, dialect):
    _refused("AADSTS700016", _by_secret(dev, client_id=NOBODY))


def vault_refusals(dev, dialect):
    refusals(_by_secret(dev), dev, dialect)


def deleted_secrets(dev, dialect):
    deleted(_by_secret(dev), dev, dialect)


CASES = {
    "secret": secret,
    "environment-secret": environment_secret,
    "default-secret": default_secret,
    "pem": pem,
    "pfx": pfx,
    "locked-pfx": locked_pfx,
    "environment-pem": environment_pem,
    "environment-pfx": environment_pfx,
    "wrong-secret": wrong_secret,
    "foreign-certificate": foreign_certificate,
    "unknown-application": unknown_application,
    "vault-refusals": vault_refusals,
    "deleted-secrets": deleted_secrets,
}


def _by_secret(dev, client_id=None, secret=None):
    options = _private(ClientSecretCredentialOptions())
    return ClientSecretCredential(
        dev.tenant_id, client_id or _administrator(), secret or _administrator_secret(), options
    )


def _by_certificate(dev, certificate):
    """CERTIFICATE is the path of a file, or what was loaded of one."""
    options = _private(ClientCertificateCredentialOptions())
    return ClientCertificateCredential(dev.tenant_id, dev.client_id, certificate, options)


def _private(options):
    options.DisableInstanceDiscovery = True
    return options


def _file(name):
    return os.path.join(os.environ["SUITE_CERTIFICATES"], name)


def _administrator():
    return os.environ["AZURE_CLIENT_ID"]


def _administrator_secret():
    return os.environ["AZURE_CLIENT_SECRET"]


def _environment(dev, name, password):
    """The machine's certificate instead of the administrator's secret."""
    # The runtime has its own copy of the environment, made when it started.
    Environment.SetEnvironmentVariable("AZURE_CLIENT_SECRET", None)
    Environment.SetEnvironmentVariable("AZURE_CLIENT_ID", dev.client_id)
    Environment.SetEnvironmentVariable("AZURE_CLIENT_CERTIFICATE_PATH", _file(name))
    Environment.SetEnvironmentVariable("AZURE_CLIENT_CERTIFICATE_PASSWORD", password)


def _main_job(credential, dev, dialect, client_id):
    for _ in range(2):
        token = token_of(credential)
        if client_id == dev.client_id:
            dev.check_token(token)
        else:
            _check_administrator(token, dev)
    whole_life(credential, dev, dialect)


def _check_administrator(token, dev):
    claims = claims_of(token.token)
    equal("appid", claims.get("appid"), _administrator())
    equal("tid", claims.get("tid"), dev.tenant_id)
    equal("aud", claims.get("aud"), VAULT_RESOURCE)
    check(claims.get("oid") not in (None, dev.principal_id), "oid is not an identity of the administrator's own")
    check(abs(token.expires_on - claims["exp"]) <= 60, "ExpiresOn is not the token's own exp")


def _refused(code, credential):
    started = time.monotonic()
    try:
        token_of(credential)
    except AuthenticationFailedException as error:
        check_refusal(error, started)
        said = "; ".join(_causes(error))
        check(code in said, f"not {code}: {said}")
    else:
        raise Mismatch(f"a token was given, expected {code}")


def _causes(error):
    """The messages from the outermost exception to the token service's own words."""
    while error is not None:
        yield error.Message
        error = error.InnerException
