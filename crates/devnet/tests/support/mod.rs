//! A client of the chain: JSON-RPC by reqwest, signatures by secp256k1.

#![allow(dead_code, reason = "every test file uses another part of it")]

pub mod permit2;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};
use farthing_devnet::{DevAccount, Devnet};
use secp256k1::{Message, SECP256K1, SecretKey};
use serde_json::{Value, json};

sol! {
    interface Token {
        event Transfer(address indexed from, address indexed to, uint256 value);
        function symbol() external view returns (string);
        function approve(address spender, uint256 value) external returns (bool);
        function transferFrom(address from, address to, uint256 value) external returns (bool);
        function nonces(address owner) external view returns (uint256);
        function name() external view returns (string);
        function version() external view returns (string);
        function decimals() external view returns (uint8);
        function totalSupply() external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function transfer(address to, uint256 value) external returns (bool);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function blacklist(address account) external;
        function unBlacklist(address account) external;
        function pause() external;
        function mint(address to, uint256 amount) external returns (bool);
    }
    interface Packed {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function permit(address owner, address spender, uint256 value, uint256 deadline, bytes signature) external;
    }
    interface Split {
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
    }
    struct Call3 { address target; bool allowFailure; bytes callData; }
    struct Answer { bool success; bytes returnData; }
    interface Multicall {
        function aggregate3(Call3[] calldata calls) external payable returns (Answer[] memory answers);
        function getChainId() external view returns (uint256);
        function getCurrentBlockTimestamp() external view returns (uint256);
    }
}

pub const GWEI: u128 = 1_000_000_000;

pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub chain_id: u64,
}

impl Client {
    pub fn new(devnet: &Devnet) -> Self {
        Self { http: reqwest::Client::new(), url: devnet.rpc_url(), chain_id: devnet.chain_id() }
    }

    pub async fn post(&self, body: String) -> reqwest::Result<reqwest::Response> {
        self.http.post(&self.url).header("content-type", "application/json").body(body).send().await
    }

    pub async fn request(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let text = self.post(body.to_string()).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub async fn ok(&self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    pub async fn error(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.request(method, params).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} succeeded: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// What a call from this account is reverted with.
    pub async fn revert(&self, from: Address, to: Address, data: &[u8]) -> Bytes {
        let call = json!({ "from": from.to_string(), "to": to.to_string(), "data": hex(data) });
        let answer = self.request("eth_call", json!([call, "latest"])).await;
        assert_eq!(answer["error"]["code"], 3, "{answer}");
        answer["error"]["data"].as_str().map(|data| data.parse().unwrap()).unwrap_or_default()
    }

    pub async fn number(&self, method: &str, params: Value) -> u64 {
        number(&self.ok(method, params).await)
    }

    pub async fn view<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let result = self.ok("eth_call", json!([{ "to": to.to_string(), "data": hex(&call.abi_encode()) }, "latest"])).await;
        C::abi_decode_returns(&bytes(&result)).unwrap()
    }

    pub async fn send(&self, transaction: &[u8]) -> B256 {
        self.ok("eth_sendRawTransaction", json!([hex(transaction)])).await.as_str().unwrap().parse().unwrap()
    }

    pub async fn receipt(&self, hash: B256) -> Value {
        self.ok("eth_getTransactionReceipt", json!([hash.to_string()])).await
    }

    /// Sends a call and returns its receipt; the chain must mine instantly.
    pub async fn transact(&self, from: &DevAccount, to: Address, data: Vec<u8>) -> Value {
        let nonce = self.number("eth_getTransactionCount", json!([from.address.to_string(), "pending"])).await;
        let hash = self.send(&self.transaction(from, nonce, to, data)).await;
        self.receipt(hash).await
    }

    pub fn transaction(&self, from: &DevAccount, nonce: u64, to: Address, data: Vec<u8>) -> Vec<u8> {
        sign_1559(from, self.fields(nonce, to, data))
    }

    pub fn fields(&self, nonce: u64, to: Address, data: Vec<u8>) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: 300_000,
            max_fee_per_gas: 100 * GWEI,
            max_priority_fee_per_gas: GWEI,
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: AccessList::default(),
            input: data.into(),
        }
    }
}

pub fn sign_1559(from: &DevAccount, fields: TxEip1559) -> Vec<u8> {
    let signature = sign(from, fields.signature_hash());
    TxEnvelope::from(fields.into_signed(signature)).encoded_2718()
}

pub fn sign_legacy(from: &DevAccount, fields: TxLegacy) -> Vec<u8> {
    let signature = sign(from, fields.signature_hash());
    TxEnvelope::from(fields.into_signed(signature)).encoded_2718()
}

pub fn sign(account: &DevAccount, digest: B256) -> Signature {
    let key = SecretKey::from_byte_array(account.secret).unwrap();
    let (id, compact) = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest.0), &key).serialize_compact();
    Signature::from_bytes_and_parity(&compact, i32::from(id) == 1)
}

pub fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("not a quantity: {value}"));
    let digits = text.strip_prefix("0x").unwrap();
    assert!(digits == "0" || !digits.starts_with('0'), "quantity with leading zeros: {text}");
    u64::from_str_radix(digits, 16).unwrap()
}

pub fn bytes(value: &Value) -> Bytes {
    value.as_str().unwrap().parse().unwrap()
}

pub fn hex(data: &[u8]) -> String {
    hex::encode_prefixed(data)
}

/// The events of a receipt that are of this kind and from this contract.
pub fn events<E: SolEvent>(receipt: &Value, contract: Address) -> Vec<E> {
    let logs = receipt["logs"].as_array().unwrap().iter();
    logs.filter(|log| log["address"].as_str().unwrap().eq_ignore_ascii_case(&contract.to_string()))
        .filter_map(|log| {
            let topics = log["topics"].as_array().unwrap().iter().map(|topic| topic.as_str().unwrap().parse::<B256>().unwrap());
            E::decode_raw_log(topics, &bytes(&log["data"])).ok()
        })
        .collect()
}

/// An EIP-3009 authorization and its signature.
#[derive(Clone)]
pub struct Authorization {
    pub from: Address,
    pub to: Address,
    pub value: U256,
    pub valid_after: U256,
    pub valid_before: U256,
    pub nonce: B256,
    pub signature: Bytes,
}

impl Authorization {
    pub fn sign(payer: &DevAccount, devnet: &Devnet, name: &str, to: Address, value: u64, nonce: u8) -> Self {
        let mut authorization = Self {
            from: payer.address,
            to,
            value: U256::from(value),
            valid_after: U256::ZERO,
            valid_before: U256::from(devnet.now() + 600),
            nonce: B256::repeat_byte(nonce),
            signature: Bytes::new(),
        };
        let digest = authorization.digest(devnet, name);
        authorization.signature = sign(payer, digest).as_bytes().into();
        authorization
    }

    pub fn digest(&self, devnet: &Devnet, name: &str) -> B256 {
        let kind = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)",
        );
        let message = (kind, self.from, self.to, self.value, self.valid_after, self.valid_before, self.nonce).abi_encode();
        typed_digest(devnet, name, keccak256(message))
    }

    pub fn packed(&self) -> Vec<u8> {
        Packed::transferWithAuthorizationCall {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
            signature: self.signature.clone(),
        }
        .abi_encode()
    }

    pub fn split(&self) -> Vec<u8> {
        Split::transferWithAuthorizationCall {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
            r: B256::from_slice(&self.signature[..32]),
            s: B256::from_slice(&self.signature[32..64]),
            v: self.signature[64],
        }
        .abi_encode()
    }
}

pub fn typed_digest(devnet: &Devnet, name: &str, message: B256) -> B256 {
    let kind = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    let domain = (kind, keccak256(name), keccak256("2"), U256::from(devnet.chain_id()), devnet.usdc()).abi_encode();
    keccak256([&[0x19, 0x01][..], keccak256(domain).as_slice(), message.as_slice()].concat())
}
