//! Heads as they usually are.

use cellgate_proxy::field_lines::FieldLine;

/// As wrk sends it.
pub(super) const SMALL: &str = "GET /items?x=1 HTTP/1.1\r\n\
    Host: shop.example\r\n\
    x-tenant-id: tenant-000012ab\r\n\r\n";

/// As a browser sends it to an application behind a login.
pub(super) const BROWSER: &str = "GET /page/orders/1048576?view=open&sort=date&limit=50 HTTP/1.1\r\n\
    Host: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Language: de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example/orders?view=open\r\n\
    Cookie: session=7d9f1c2ab44e4f0c9c8f3d1e5b6a7089; theme=dark; consent=a1b2c3d4e5; tenant=tenant-000012ab\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    x-request-id: 5b0c1f6e-8c0a-4a54-9d3e-3c1f0e9b7a21\r\n\
    x-tenant-id: tenant-000012ab\r\n\r\n";

/// As a load balancer in front passes it on.
pub(super) const FORWARDED: &str = "GET /items?x=1 HTTP/1.1\r\n\
    Host: shop.example\r\n\
    X-Forwarded-For: 198.51.100.23, 10.1.2.3\r\n\
    X-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: shop.example\r\n\
    x-tenant-id: tenant-000012ab\r\n\r\n";

/// As nginx answers from a file or by itself.
pub(super) const SMALL_ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx\r\n\
    Date: Sun, 01 Mar 2026 12:00:00 GMT\r\n\
    Content-Length: 100\r\n\
    Connection: keep-alive\r\n\r\n";

/// As an application answers.
pub(super) const ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx\r\n\
    Date: Sun, 01 Mar 2026 12:00:00 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 100\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: private, max-age=0, must-revalidate\r\n\
    ETag: \"5b0c1f6e-64\"\r\n\
    Vary: Accept-Encoding\r\n\
    Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n\
    Set-Cookie: session=7d9f1c2ab44e4f0c9c8f3d1e5b6a7089; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\r\n";

/// The fields of a head.
pub(super) fn fields(head: &'static str) -> impl Iterator<Item = FieldLine<'static>> {
    head.lines().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some(FieldLine {
            name: name.as_bytes(),
            value: value.as_bytes(),
        })
    })
}
