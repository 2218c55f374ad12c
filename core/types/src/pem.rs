//! What is known about keys and certificates without reading them: why one can't be used.

/// Whether PEM text has a private key that takes a passphrase.
pub fn has_encrypted_key(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        line == "-----BEGIN ENCRYPTED PRIVATE KEY-----"
            || line.strip_prefix("Proc-Type:").is_some_and(|rest| rest.trim() == "4,ENCRYPTED")
    })
}

/// Whether a key, or the key of a certificate, is on the curve P-521.
pub fn is_on_p521(der: &[u8]) -> bool {
    const NAME: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    der.windows(NAME.len()).any(|window| window == NAME)
}

/// What to do about a key that takes a passphrase.
pub fn decrypt_advice(path: &str) -> String {
    format!(
        "is encrypted with a passphrase, which nobody can be asked for; write it decrypted with \
         `openssl pkey -in {path} -out NEW` and let nobody else read that file"
    )
}

/// What to do about a key on the curve P-521.
pub const P521_ADVICE: &str = "is on the curve P-521, which is not supported here; make one on P-256, such as with \
     `openssl ecparam -name prime256v1 -genkey -noout -out NEW`, or an RSA or Ed25519 key";

/// What to do about an authority's certificate that is presented as a server's.
pub const AUTHORITY_ADVICE: &str = "is one of a certificate authority (CA:TRUE), which many clients do not accept from a server; make \
     it with `-addext basicConstraints=critical,CA:FALSE`, or let the authority sign one for the server";
