//! A peer of the server's that speaks HTTP as it likes: from any address of this machine, with windows of
//! its own, without asking and without reading.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use carepost_agent::identity::DeviceKey;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::Server;

/// Somebody at an address, with a key or without.
#[derive(Clone)]
pub struct Peer {
    tls: Arc<ClientConfig>,
    to: SocketAddr,
    from: IpAddr,
}

/// An HTTP/2 connection, which lives as long as somebody holds it.
pub struct Http2 {
    send: SendRequest<Bytes>,
    /// How it ended.
    pub ended: JoinHandle<Result<(), h2::Error>>,
}

impl Peer {
    /// Somebody at the people's listener.
    ///
    /// # Errors
    /// When the server's certificate cannot be read.
    pub fn person(server: &Server) -> Result<Self> {
        let port = server.people.rsplit_once(':').context("no port")?.1.parse()?;
        Self::new(server, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None)
    }

    /// Somebody with that key at the devices' listener.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn device(server: &Server, key: &DeviceKey) -> Result<Self> {
        Self::new(server, server.devices, Some(key))
    }

    fn new(server: &Server, to: SocketAddr, key: Option<&DeviceKey>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&server.ca)? {
            roots.add(certificate?)?;
        }
        let tls = ClientConfig::builder().with_root_certificates(roots);
        let tls = match key {
            Some(key) => {
                let certificate = CertificateDer::from(key.certificate_der().to_vec());
                let key = PrivateKeyDer::try_from(key.pkcs8().to_vec()).map_err(anyhow::Error::msg)?;
                tls.with_client_auth_cert(vec![certificate], key)?
            }
            None => tls.with_no_client_auth(),
        };
        Ok(Self { tls: Arc::new(tls), to, from: Ipv4Addr::LOCALHOST.into() })
    }

    /// The same, who comes from another address of this machine: 127.0.0.0/8 is all its own.
    #[must_use]
    pub fn at(&self, from: [u8; 4]) -> Self {
        Self { from: from.into(), ..self.clone() }
    }

    /// A connection, and nothing said.
    ///
    /// # Errors
    /// When it is not made.
    pub async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        Ok(socket.connect(self.to).await?)
    }

    /// TLS over a connection, for that protocol.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn shake_hands(&self, stream: TcpStream, protocol: &str) -> Result<TlsStream<TcpStream>> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)
    }

    /// A connection with TLS.
    ///
    /// # Errors
    /// When it is not made.
    pub async fn tls(&self, protocol: &str) -> Result<TlsStream<TcpStream>> {
        self.shake_hands(self.connect().await?, protocol).await
    }

    /// An HTTP/2 connection whose streams may get so many bytes until more is said.
    ///
    /// # Errors
    /// When it is not made.
    pub async fn http2(&self, window: u32) -> Result<Http2> {
        let stream = self.tls("h2").await?;
        let mut client = h2::client::Builder::new();
        // As few as any server takes, until it says how many.
        client.initial_window_size(window).initial_max_send_streams(1);
        let (send, connection) = client.handshake(stream).await?;
        Ok(Http2 { send, ended: tokio::spawn(connection) })
    }
}

impl Http2 {
    /// Asks for something; with a body, that is sent with it.
    ///
    /// # Errors
    /// When the connection takes no request.
    pub async fn ask(&self, request: Request<()>, body: Option<Bytes>) -> Result<ResponseFuture> {
        let (response, mut stream) = self.open(request, body.is_none()).await?;
        if let Some(body) = body {
            // Where the server wants none of it, the answer says so.
            let _ = stream.send_data(body, true);
        }
        Ok(response)
    }

    /// Asks for something with a body that begins so, and goes on as long as it is held.
    ///
    /// # Errors
    /// When the connection takes no request.
    pub async fn begin(
        &self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        let (response, mut stream) = self.open(request, false).await?;
        stream.send_data(body, false)?;
        Ok((response, stream))
    }

    async fn open(
        &self,
        mut request: Request<()>,
        whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        // A path alone is not enough for HTTP/2.
        let path = request.uri().path_and_query().context("no path")?.clone();
        *request.uri_mut() =
            http::Uri::builder().scheme("https").authority("localhost").path_and_query(path).build()?;
        let mut send = self.send.clone().ready().await?;
        Ok(send.send_request(request, whole)?)
    }

    /// Asks with a GET, and waits for the head of the answer.
    ///
    /// # Errors
    /// When none comes.
    pub async fn get(&self, path: &str) -> Result<Response<h2::RecvStream>> {
        Ok(self.ask(Request::get(path).body(())?, None).await?.await?)
    }
}
